"""Receipts (https://c2sp.org/tlog-proof): the proof that an entry is in a log, to be kept beside the entry."""

from dataclasses import dataclass

from .errors import MalformedTextError
from .lines import (
    check_text,
    read_base64,
    read_labelled_number,
    read_path,
    split_checkpoint,
    write_base64,
    write_path,
)

HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "


@dataclass(frozen=True, slots=True)
class Receipt:
    """The index of an entry, the path from it to the root, and the checkpoint with that root, as a note. ``extra`` is
    not proven by anything. ``str`` is the receipt as it is kept and sent.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = "" if self.extra is None else f"{_EXTRA}{write_base64(self.extra)}\n"
        return f"{HEADER}\n{extra}index {self.index}\n{write_path(self.path)}\n{self.checkpoint}"


def parse_receipt(receipt: str) -> Receipt:
    """Return the parts of a receipt, of which nothing is verified. Raises MalformedTextError."""
    check_text(receipt, "receipt")
    (header, *lines), checkpoint = split_checkpoint(receipt, "receipt")
    if header != HEADER:
        raise MalformedTextError(f"The receipt does not begin with the line “{HEADER}”.")
    extra = None
    if lines and lines[0].startswith(_EXTRA):
        extra = read_base64(lines.pop(0).removeprefix(_EXTRA), "extra data of the receipt")
    index, *path = lines or [""]
    return Receipt(
        index=read_labelled_number(index, "index", "receipt"),
        path=read_path(path, "receipt"),
        checkpoint=checkpoint,
        extra=extra,
    )
