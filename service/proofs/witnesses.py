"""What is said to witnesses and by them (https://c2sp.org/tlog-witness): the texts, without HTTP."""

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import NotProvenError, UnusableKeyError
from .keys import KeyKind, VerifierKey
from .lines import (
    check_text,
    read_labelled_number,
    read_number,
    read_path,
    split_checkpoint,
    write_path,
)
from .notes import Note, Signature, parse_signatures, signatures_by


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request that a witness cosign a checkpoint (a note): the proof leads from the size of the last one that it
    cosigned, ``old_size`` (0: none). ``str`` is the request's body.
    """

    old_size: int
    path: tuple[bytes, ...]
    checkpoint: str

    def __str__(self) -> str:
        return f"old {self.old_size}\n{write_path(self.path)}\n{self.checkpoint}"


def parse_add_checkpoint(body: str) -> AddCheckpoint:
    """Return the parts of a request's body, of which nothing is verified. Raises MalformedTextError."""
    check_text(body, "request")
    (old_size, *path), checkpoint = split_checkpoint(body, "request")
    return AddCheckpoint(
        old_size=read_labelled_number(old_size, "old", "request"),
        path=read_path(path, "request"),
        checkpoint=checkpoint,
    )


def parse_known_size(answer: str) -> int:
    """Return the size that a witness answers to a request from another one: the last that it cosigned (the body of a
    409). Raises MalformedTextError.
    """
    check_text(answer, "size that the witness answered")
    return read_number(answer.removesuffix("\n"), "size that the witness answered")


def read_cosignatures(answer: str, checkpoint: Note, witnesses: Iterable[VerifierKey]) -> tuple[Signature, ...]:
    """Return the cosignatures of ``checkpoint`` in a witness's answer, those by ``witnesses`` only. Raises
    MalformedTextError, UnusableKeyError for the key of a log, and NotProvenError when there is none, or a wrong one.
    """
    keys = list(witnesses)
    if any(key.kind is not KeyKind.WITNESS for key in keys):
        raise UnusableKeyError("The key of a log cannot be that of a witness.")
    verified = signatures_by(Note(checkpoint.text, parse_signatures(answer)), keys)
    if not verified:
        raise NotProvenError("The answer has no cosignature by a witness that is known.")
    return tuple(verified.values())
