"""What a text may consist of: names and references that look alike are alike, and no text upsets what shows it.

The sources are the Unicode standard's: normalization form C (UAX #15), the default ignorable code points (UAX #44)
and the explicit bidirectional formatting characters (UAX #9).
"""

import re
import string
import unicodedata

from .limits import CLIENT_NAME_LENGTH_MAX

# Characters that are shown as nothing although Python calls them printable: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_SEPARATORS = "".join(one for one in map(chr, range(1, 0x80)) if not one.isalnum()) + "\xa0«»‘’‚“”„–—…·¡¿"
_BREAKING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]")


def name_fault(text: str) -> str | None:
    """Return what is wrong with ``text`` as a name or reference, and what to send instead; None when nothing is.

    It consists of visible characters in normalization form C, with ordinary spaces between them.
    """
    if text.isascii() and text.isprintable() and text and text[0] != " " != text[-1]:
        return None
    if not text or text.isspace():
        return "it is blank; send at least one visible character, or leave it out"
    if text[0].isspace() or text[-1].isspace():
        return "white space at the ends; send it without"
    if not text.isprintable() or _INVISIBLE.search(text):
        found = next(one for one in text if not one.isprintable() or _INVISIBLE.match(one))
        return f"{_called(found)} is not allowed here; send visible characters, with ordinary spaces between them"
    if not unicodedata.is_normalized("NFC", text):
        return "not in Unicode's normalization form C (NFC); normalize it, so that é is one character and not e with ´"
    return None


def prefix_fault(text: str) -> str | None:
    """Return what is wrong with ``text`` as the beginning of a name or reference; None when nothing is. It may end
    between two words.
    """
    return name_fault(text.rstrip(" "))


def client_fault(text: str) -> str | None:
    """Return what is wrong with ``text`` as a caller's name, and what to send instead; None when nothing is.

    It is short: every decision has it in its key, and PostgreSQL's indexes take no rows of any size.
    """
    if len(text) > CLIENT_NAME_LENGTH_MAX:
        return f"it has {len(text)} characters; a client's name has at most {CLIENT_NAME_LENGTH_MAX}"
    return name_fault(text)


def prose_fault(text: str) -> str | None:
    """Return what is wrong with ``text`` as a description or another free text, and what to send; None when nothing
    is.

    Tabs and line ends are allowed; other control characters are not, nor are those that turn the order of what
    stands around them (bidirectional embeddings, overrides and isolates).
    """
    if text.isascii() and text.isprintable():
        return None
    found = _BREAKING.search(text)
    if found is None:
        return None
    return f"{_called(found[0])} is not allowed; of control characters only tabs and line ends are"


FOLDED = (string.ascii_uppercase + _SEPARATORS, string.ascii_lowercase + " " * len(_SEPARATORS))
"""What makes the words of a text comparable, whatever the database's collation is: characters, and what each becomes.
"""


def words_of(text: str) -> list[str]:
    """Return the words of ``text``, A to Z in lower case: what stands between white space and punctuation."""
    return text.translate(str.maketrans(*FOLDED)).split()


def words_fault(text: str) -> str | None:
    """Return what is wrong with ``text`` as words that are looked for; None when there is one."""
    return None if words_of(text) else "it has no word; send at least one letter or digit"


def _called(character: str) -> str:
    """Return how people call ``character``, which need not be visible."""
    code = f"U+{ord(character):04X}"
    name = _CONTROL_NAMES.get(character) or unicodedata.name(character, "")
    return f"the character {code} ({name})" if name else f"the character {code}"


_CONTROL_NAMES = {
    "\x00": "NUL",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
}
