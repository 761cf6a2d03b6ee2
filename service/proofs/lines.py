"""What all these texts share: UTF-8 in lines, numbers in decimal, bytes in base64, each with one spelling only.

Every function names in ``what`` the thing it reads, for the sentence of the MalformedTextError that it raises.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable

from .errors import MalformedTextError
from .tree import HASH_BYTES, PATH_LENGTH_MAX, SIZE_MAX

TEXT_BYTES_MAX = 1 << 20
"""How long a text may be: a note with a hundred signatures of the longest kinds is shorter."""

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def decode_text(data: bytes, what: str) -> str:
    """Return the text of bytes in UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedTextError(f"The {what} is not UTF-8 from byte {error.start} on.") from None


def check_text(text: str, what: str) -> None:
    """Check that a text is short enough, can be UTF-8 and has no control characters but newlines, the last one a
    newline.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise MalformedTextError(f"The {what} has half of a surrogate pair, which is no character.") from None
    if length > TEXT_BYTES_MAX:
        raise MalformedTextError(f"The {what} is longer than {TEXT_BYTES_MAX} bytes.")
    if found := _CONTROL.search(text):
        raise MalformedTextError(f"The {what} has the control character U+{ord(found[0]):04X}.")
    if not text.endswith("\n"):
        raise MalformedTextError(f"The {what} does not end in a newline.")


def read_number(text: str, what: str) -> int:
    """Return the number that is written in decimal without leading zeros, at most ``SIZE_MAX``."""
    if not _NUMBER.fullmatch(text) or int(text) > SIZE_MAX:
        raise MalformedTextError(f"The {what} is no decimal number without leading zeros, up to 2^62.")
    return int(text)


def read_labelled_number(line: str, label: str, what: str) -> int:
    """Return the number of a line that consists of ``label``, a space and it."""
    start = f"{label} "
    if not line.startswith(start):
        raise MalformedTextError(f"The {what} has no line “{label}” with a number where it should be.")
    return read_number(line.removeprefix(start), f"number after “{label}” of the {what}")


def write_base64(data: bytes) -> str:
    """Return bytes as base64 (RFC 4648, section 4)."""
    return b64encode(data).decode()


def read_base64(text: str, what: str) -> bytes:
    """Return the bytes of base64 (RFC 4648, section 4), which must be spelled as it is written here: with padding, and
    zeros in the bits that mean nothing.
    """
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or write_base64(data) != text:
        raise MalformedTextError(f"The {what} is no base64 with padding (RFC 4648, section 4).")
    return data


def read_hash(text: str, what: str) -> bytes:
    """Return a hash that is written in base64."""
    data = read_base64(text, what)
    if len(data) != HASH_BYTES:
        raise MalformedTextError(f"The {what} has {len(data)} bytes, and a hash has {HASH_BYTES}.")
    return data


def write_path(path: Iterable[bytes]) -> str:
    """Return the hashes of a proof, a line each."""
    return "".join(f"{write_base64(hash_)}\n" for hash_ in path)


def read_path(lines: list[str], what: str) -> tuple[bytes, ...]:
    """Return the hashes of a proof, which are a line each."""
    if len(lines) > PATH_LENGTH_MAX:
        raise MalformedTextError(f"The {what} has {len(lines)} hashes, and no more than {PATH_LENGTH_MAX} are needed.")
    return tuple(read_hash(line, f"hash {number} of the {what}") for number, line in enumerate(lines, 1))


def split_checkpoint(text: str, what: str) -> tuple[list[str], str]:
    """Return the lines before the first empty line, and the checkpoint that follows it, as it is written."""
    head, empty_line, checkpoint = text.partition("\n\n")
    if not empty_line or not checkpoint:
        raise MalformedTextError(f"The {what} has no checkpoint after an empty line.")
    return head.split("\n"), checkpoint
