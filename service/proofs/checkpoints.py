"""Checkpoints (https://c2sp.org/tlog-checkpoint): how many entries a log has, and the root of its tree, in a note."""

from dataclasses import dataclass

from .errors import MalformedTextError
from .keys import SignerKey
from .lines import check_text, read_hash, read_number, write_base64
from .notes import Note, sign

_LINES_MIN = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of the log ``origin`` at one size. ``str`` is the text of the note."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = (self.origin, str(self.size), write_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint of the text of a note. Raises MalformedTextError."""
    check_text(text, "checkpoint")
    lines = text.split("\n")[:-1]
    if len(lines) < _LINES_MIN or not all(lines):
        raise MalformedTextError("The checkpoint is not of three lines or more, none of them empty.")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=read_number(size, "size in the checkpoint"),
        root=read_hash(root, "root in the checkpoint"),
        extensions=tuple(extensions),
    )


def sign_checkpoint(checkpoint: Checkpoint, key: SignerKey) -> Note:
    """Return the note of a checkpoint, signed by its log. Raises UnusableKeyError, and MalformedTextError for a
    checkpoint that cannot be written.
    """
    text = str(checkpoint)
    if parse_checkpoint(text) != checkpoint:
        raise MalformedTextError("The checkpoint has a newline in a line.")
    return Note(text, (sign(text, key),))
