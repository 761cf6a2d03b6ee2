"""Verification as a command: ``funds verify-receipt`` and ``funds verify-consistency``, or ``python -m service.proofs``
where nothing else of the service is installed, which is why it does without click.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import MalformedTextError, ProofsError, UnusableKeyError
from .keys import VerifierKey, parse_verifier_key
from .lines import decode_text, write_base64
from .verify import (
    ProvenCheckpoint,
    Trust,
    verify_consistency,
    verify_receipt,
)

FILE_BYTES_MAX = 16 << 20
"""How long a file may be."""

_PROVEN, _NOT_PROVEN = 0, 1  # argparse ends with 2
_STANDARD_INPUT = "-"
_ENDING = (
    "A FILE can be - for standard input; a VKEY is the text of a verifier key, name+id+base64, or the name of a file"
    " with it. Nothing is asked of any service. Exits with 0 when it is proven, 1 when it is not, 2 when the command"
    " cannot run so."
)


@dataclass(frozen=True, slots=True)
class Command:
    """What a command does, the files it takes by their labels (the last of them perhaps not), and its function: it
    returns the members of the answer and the same as a sentence, or raises a ProofsError.
    """

    description: str
    files: dict[str, str]
    verify: Callable[[Sequence[bytes], Trust], tuple[dict[str, Any], str]]
    is_last_optional: bool = False


def main(arguments: Sequence[str], program: str) -> int:
    """Run a command. Returns its exit code: 0 when it is proven, 1 when it is not. Raises SystemExit with 2 when it
    cannot run so.
    """
    parser = _parser(program)
    given = parser.parse_args(arguments)
    try:
        trust = Trust(
            keys=[_key(text) for text in given.keys],
            origin=given.origin,
            witnesses=[_key(text) for text in given.witnesses],
            witnesses_min=given.witnesses_min,
        )
        names = [getattr(given, label) for label in COMMANDS[given.command].files]
        contents = _read_all([name for name in names if name is not None])
    except UnusableKeyError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")
    except ValueError as error:
        parser.error(str(error))
    try:
        members, sentence = COMMANDS[given.command].verify(contents, trust)
    except ProofsError as error:
        _answer({"proven": False, "reason": str(error)}, f"Not proven. {error}", as_json=given.json)
        return _NOT_PROVEN
    _answer({"proven": True, **members}, sentence, as_json=given.json)
    return _PROVEN


def _parser(program: str) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--key", dest="keys", metavar="VKEY", action="append", required=True, help="the key of the log; repeat for more"
    )
    common.add_argument("--origin", metavar="NAME", help="the log to expect; without it, the one that the key names")
    common.add_argument(
        "--witness",
        dest="witnesses",
        metavar="VKEY",
        action="append",
        default=[],
        help="the key of a witness that must have cosigned; repeat for more",
    )
    common.add_argument(
        "--witnesses-min", metavar="N", type=int, help="how many of the witnesses must have; without it, all of them"
    )
    common.add_argument("--json", action="store_true", help="answer with a JSON object")
    parser = argparse.ArgumentParser(prog=program, description="Verify what a log proves, offline.", epilog=_ENDING)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        told = command.description
        arguments = commands.add_parser(name, parents=[common], description=told, help=told, epilog=_ENDING)
        *labels, last = command.files
        for label in labels:
            arguments.add_argument(label, help=command.files[label])
        arguments.add_argument(last, nargs="?" if command.is_last_optional else None, help=command.files[last])
    return parser


def _key(text: str) -> VerifierKey:
    """Return a key of its text, or of the file with it: only texts of keys have a plus."""
    if "+" not in text:
        text = _read(text).decode(errors="replace").strip()
    return parse_verifier_key(text)


def _read_all(names: Sequence[str]) -> list[bytes]:
    """Return the bytes of files. Raises OSError, ValueError."""
    if names.count(_STANDARD_INPUT) > 1:
        raise ValueError("Standard input can be one of the files only.")
    return [_read(name) for name in names]


def _read(name: str) -> bytes:
    """Return the bytes of a file. Raises OSError, ValueError."""
    if name == _STANDARD_INPUT:
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"{name}: longer than {FILE_BYTES_MAX} bytes.")
    return data


def _verify_receipt(contents: Sequence[bytes], trust: Trust) -> tuple[dict[str, Any], str]:
    entry, receipt = contents if len(contents) > 1 else _parts_of_answer(contents[0])
    proven = verify_receipt(entry, decode_text(receipt, "receipt"), trust)
    members = {"index": proven.index, "checkpoint": _members(proven.head)}
    return members, f"Proven: the entry is number {proven.index} (from 0) of {_described(proven.head)}."


def _parts_of_answer(answer: bytes) -> tuple[bytes, bytes]:
    """Return the entry and the receipt of an answer of the service, a JSON object. Raises MalformedTextError."""
    try:
        members = json.loads(answer)
        return members["entry"].encode(), members["receipt"].encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise MalformedTextError(
            "Without the receipt, the file must be the service's answer: a JSON object with entry and receipt."
        ) from None


def _verify_consistency(contents: Sequence[bytes], trust: Trust) -> tuple[dict[str, Any], str]:
    old, new, proof = (
        decode_text(data, what)
        for data, what in zip(contents, ("old checkpoint", "new checkpoint", "proof"), strict=True)
    )
    proven = verify_consistency(old, new, proof, trust)
    members = {"old": _members(proven.old), "new": _members(proven.new)}
    size = proven.old.checkpoint.size
    return members, f"Proven: the first {size} entries are the same in {_described(proven.new)}."


COMMANDS = {
    "verify-receipt": Command(
        "Verify that an entry is in a log, by its receipt.",
        {
            "ENTRY": "FILE with the exact bytes of the entry, or with the service's answer, which has both",
            "RECEIPT": "FILE with the receipt",
        },
        _verify_receipt,
        is_last_optional=True,
    ),
    "verify-consistency": Command(
        "Verify that a log only grew between two checkpoints.",
        {
            "OLD": "FILE with the old checkpoint",
            "NEW": "FILE with the new checkpoint",
            "PROOF": "FILE with the consistency proof",
        },
        _verify_consistency,
    ),
}


def _members(head: ProvenCheckpoint) -> dict[str, Any]:
    return {
        "origin": head.checkpoint.origin,
        "size": head.checkpoint.size,
        "root": write_base64(head.checkpoint.root),
        "cosigners": [{"name": cosigner.name, "time": cosigner.time} for cosigner in head.cosigners],
    }


def _described(head: ProvenCheckpoint) -> str:
    names = " and ".join(f"{cosigner.name} at {_written(cosigner.time)}" for cosigner in head.cosigners)
    seen = f", cosigned by {names}" if names else ""
    return f"the {head.checkpoint.size} entries of {head.checkpoint.origin!r}{seen}"


def _written(seconds: int) -> str:
    """Return a time as text; a witness may have said one that no calendar has."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (OverflowError, OSError, ValueError):
        return f"second {seconds}"


def _answer(members: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    sys.stdout.write(f"{json.dumps(members) if as_json else sentence}\n")
