"""Signed notes (https://c2sp.org/signed-note): a text, an empty line, and a line for each signature.

The text means nothing until a key that is trusted has verified it: ``signatures_by``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from .errors import MalformedTextError, NotProvenError
from .keys import KEY_ID_BYTES, SignerKey, VerifierKey, is_name
from .lines import check_text, read_base64, write_base64

SIGNATURES_MAX = 100
_DASH = "— "  # U+2014


@dataclass(frozen=True, slots=True)
class Signature:
    """One line of a note: who signed it, says the line, with which key, and the signature itself."""

    name: str
    key_id: bytes
    value: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {write_base64(self.key_id + self.value)}\n"

    def names(self, key: VerifierKey) -> bool:
        """Whether the line says that ``key`` made it."""
        return (self.name, self.key_id) == (key.name, key.id)


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and its signatures. ``str`` is the note as it is kept and sent."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    def signed(self, *signatures: Signature) -> Self:
        """Return the note with more signatures, each in the place of one with the same name and key ID."""
        lines = {(line.name, line.key_id): line for line in (*self.signatures, *signatures)}
        return type(self)(self.text, tuple(lines.values()))


def sign(text: str, key: SignerKey) -> Signature:
    """Return the signature of a note's text by a log. Raises UnusableKeyError, MalformedTextError."""
    check_text(text, "text")
    return Signature(key.name, key.verifier_key.id, key.sign(text))


def cosign(text: str, key: SignerKey, time: int) -> Signature:
    """Return the cosignature of a checkpoint's text by a witness at ``time``, in seconds since 1970. Raises
    UnusableKeyError, MalformedTextError.
    """
    check_text(text, "text")
    return Signature(key.name, key.verifier_key.id, key.cosign(text, time))


def parse_note(note: str) -> Note:
    """Return the parts of a note, of which nothing is verified. Raises MalformedTextError."""
    check_text(note, "note")
    text, empty_line, lines = note.rpartition("\n\n")
    if not empty_line:
        raise MalformedTextError("The note has no empty line before its signatures.")
    return Note(f"{text}\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Return the signatures of lines, at least one. Raises MalformedTextError."""
    check_text(lines, "list of signatures")
    found = lines.split("\n")[:-1]
    if len(found) > SIGNATURES_MAX:
        raise MalformedTextError(f"The note has more than {SIGNATURES_MAX} signatures.")
    return tuple(_signature(line, number) for number, line in enumerate(found, 1))


def _signature(line: str, number: int) -> Signature:
    name, _, base64 = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not is_name(name):
        raise MalformedTextError(f"Signature {number} is not an em dash, the name of a key and base64.")
    data = read_base64(base64, f"signature {number}")
    if len(data) <= KEY_ID_BYTES:
        raise MalformedTextError(f"Signature {number} is a key ID and nothing else.")
    return Signature(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


def signatures_by(note: Note, keys: Iterable[VerifierKey]) -> dict[VerifierKey, Signature]:
    """Return which of ``keys`` signed a note, and how. Signatures by other keys mean nothing. Raises NotProvenError
    when a signature that is said to be by one of them is not.
    """
    known = list(keys)
    verified: dict[VerifierKey, Signature] = {}
    for signature in note.signatures:
        named = [key for key in known if signature.names(key)]
        makers = [key for key in named if key.verifies(note.text, signature.value)]
        if named and not makers:
            raise NotProvenError(f"The signature of {signature.name} is not of this text: one of them was changed.")
        for key in makers:
            verified.setdefault(key, signature)
    return verified
