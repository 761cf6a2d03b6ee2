"""The codes of accounts in a chart of accounts: segments divided by colons, from the general to the particular
(``1000:cash:eur``). A code stands for all accounts that have it, or one that goes on behind it.
"""

import re

SEPARATOR = ":"
BEHIND_SEPARATOR = chr(ord(SEPARATOR) + 1)
"""The character that follows the separator: in the order of bytes, all codes that go on behind ``1000`` lie between
``1000:`` and ``1000;``.
"""

LENGTH_MAX = 255
SEGMENTS_MAX = 10

_SEGMENT = "[A-Za-z0-9][A-Za-z0-9._-]*"
PATTERN = rf"^{_SEGMENT}({SEPARATOR}{_SEGMENT}){{0,{SEGMENTS_MAX - 1}}}(?!\n)$"  # `$` matches before a line's end, too


def is_code(text: str) -> bool:
    """Whether ``text`` can be the code of an account."""
    return len(text) <= LENGTH_MAX and re.match(PATTERN, text) is not None


def stands_for(group: str, code: str) -> bool:
    """Whether an account with ``code`` belongs to what ``group`` stands for."""
    return code == group or code.startswith(group + SEPARATOR)
