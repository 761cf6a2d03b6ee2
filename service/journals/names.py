"""What accounts are called in files, and how a text gets into a format that has no place for some of its characters.

Every name stands for one account, and every text can be read back.
"""

import re
from uuid import UUID

_BY_ID = "id:"


def percent_encoded(text: str, unsafe: re.Pattern[str]) -> str:
    """Return ``text`` on one line: a per cent sign, what is not printable and what ``unsafe`` finds are written as %XX,
    the bytes of UTF-8 in hexadecimal digits, as in URLs (RFC 3986).
    """
    if text.isprintable() and "%" not in text and not unsafe.search(text):
        return text
    places = {place for found in unsafe.finditer(text) for place in range(*found.span())}
    return "".join(
        _as_bytes(character) if place in places or character == "%" or not character.isprintable() else character
        for place, character in enumerate(text)
    )


def account_name(reference: str | None, account_id: UUID, unsafe: re.Pattern[str]) -> str:
    """Return the name of an account: its reference, with what ``unsafe`` finds in it percent-encoded; for an account
    without one ``id:`` and its identifier. No reference is written so that it begins with that mark.
    """
    if reference is None:
        return f"{_BY_ID}{account_id}"
    name = percent_encoded(reference, unsafe)
    return f"{_as_bytes(name[0])}{name[1:]}" if name.startswith(_BY_ID) else name


def _as_bytes(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
