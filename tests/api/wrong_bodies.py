"""Bodies with one thing wrong: each with the member that is wrong, by the request that it is part of."""

from tests.support.http_ledger import JSON, transfer

ACCOUNT_ID = "d7a3f0b2-4c61-4e8e-9d5a-1b2c3d4e5f60"
TRANSFER: JSON = transfer(
    {"id": "0b9c8d7e-6f50-4a3b-8c2d-1e0f9a8b7c6d"}, {"id": "5e4d3c2b-1a09-4f8e-9d7c-6b5a49382716"}
)
ACCOUNT: JSON = {"currency": "USD"}

# What breaks a text, a map of texts, an amount and a time, by the pointer under the member.
BROKEN_TEXT: list[object] = ["a\x00b", 5, True, ["a"], {"a": "b"}]
BROKEN_METADATA: list[object] = [
    [],
    "text",
    {"key": 1},
    {"key": None},
    {"key": {"nested": "object"}},
    {"": "empty key"},
    {"nul\x00": "in a key"},
    {"key": "nul \x00 in a value"},
    {"k" * 65: "long key"},
    {"key": "v" * 501},
    {str(number): "many" for number in range(51)},
]
BROKEN_AMOUNTS: list[object] = [0, -1, 2**63, 2**64, 10**400, 1.5, "1", "", True, None, [1]]
BROKEN_CURRENCIES: list[object] = ["", "US", "USDT", "usd", "US1", "U\x00D", "USD\n", " USD", 840, None]
BROKEN_IDS: list[object] = ["", "text", ACCOUNT_ID[:-1], f"{ACCOUNT_ID}0", f"urn:uuid:{ACCOUNT_ID}", 5, None, {"id": 1}]
BROKEN_TIMES: list[object] = [
    "",
    "now",
    "2026-01-01",
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00+25:00",
    "2026-01-01T23:59:60Z",
    "2026-01-01T00:00:00 01:00",
    "2026-01-01T23:59:59.9999999Z",
    "2026-01-01T00:00:00.0000000+01:00",
    1767225600,
    True,
]
BROKEN_BOUNDS: list[object] = [2**63, -(2**63), 1.5, "0", True]

BROKEN_CODES: list[object] = ["", ":", "1000:", "a b", "=1", "1:-1", "ü", "1000\n", "1:" * 10 + "1", "c" * 256, 1000]

WRONG_TRANSFERS = [
    *(("amount", value) for value in BROKEN_AMOUNTS),
    *(("currency", value) for value in BROKEN_CURRENCIES),
    *(("debit_account_id", value) for value in BROKEN_IDS),
    *(("credit_account_id", value) for value in BROKEN_IDS),
    *(("reference", value) for value in (*BROKEN_TEXT, "", "r" * 256)),
    *(("description", value) for value in (*BROKEN_TEXT, "d" * 1001)),
    *(("metadata", value) for value in (*BROKEN_METADATA, None)),
    *(("effective_at", value) for value in BROKEN_TIMES),
    ("unknown", 1),
    ("unknown~member/with.signs", 1),
    ("Amount", 1),
]
WRONG_ACCOUNTS = [
    *(("currency", value) for value in BROKEN_CURRENCIES),
    *(("reference", value) for value in (*BROKEN_TEXT, "", "r" * 256)),
    *(("name", value) for value in (*BROKEN_TEXT, "", "n" * 256)),
    *(("minimum_balance", value) for value in BROKEN_BOUNDS),
    *(("maximum_balance", value) for value in BROKEN_BOUNDS),
    *(("normal_side", value) for value in ("", "both", "Credit", 1, None)),
    *(("metadata", value) for value in (*BROKEN_METADATA, None)),
    *(("code", value) for value in BROKEN_CODES),
    ("status", "open"),
    ("id", ACCOUNT_ID),
]
WRONG_PATCHES = [
    *(("name", value) for value in (*BROKEN_TEXT, "", "n" * 256)),
    *(("minimum_balance", value) for value in BROKEN_BOUNDS),
    *(("maximum_balance", value) for value in BROKEN_BOUNDS),
    *(("status", value) for value in ("", "active", "OPEN", 1, None)),
    *(("metadata", value) for value in (*BROKEN_METADATA, None)),
    *(("code", value) for value in BROKEN_CODES),
    *((name, "x") for name in ("currency", "reference", "normal_side", "balance")),
]
WRONG_LEDGERS = [
    *(
        ("name", value)
        for value in ("", "Main", "-a", "_a", "a b", "a/b", "a.b", "ü", "a" * 64, "a\n", "a\x00", 5, None)
    ),
    *(("description", value) for value in (*BROKEN_TEXT, "d" * 1001)),
    ("id", 1),
]
WRONG_ITEMS = [
    *(("idempotency_key", value) for value in ("", "k" * 256, "a b", "ü", "a\n", "a\x00", 5, None)),
    *(("group", value) for value in (*BROKEN_TEXT, "", "g" * 256)),
    ("amount", 0),
    ("metadata", {"key": 1}),
    ("unknown", 1),
]


NOT_JSON = {
    "white space": b" \n",
    "half an object": b'{"amount": 1',
    "half a text": b'{"reference": "a',
    "two objects": b"{}{}",
    "a trailing comma": b'{"amount": 1,}',
    "single quotes": b"{'amount': 1}",
    "a comment": b"{} // none",
    "NaN": b'{"amount": NaN}',
    "infinity": b'{"amount": -Infinity}',
    "a leading zero": b'{"amount": 01}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"amount": 1}'.encode("utf-16"),
    "invalid UTF-8": b'{"reference": "\xff\xfe"}',
    "invalid UTF-8 in a name": b'{"\xff": 1}',
    "overlong UTF-8": b'{"reference": "\xc0\x80"}',
    "a lone surrogate": rb'{"reference": "\ud800"}',
    "a lone surrogate in a name": rb'{"\udfff": 1}',
    "an encoded surrogate": b'{"reference": "\xed\xa0\x80"}',
    "a raw control character": b'{"reference": "\x01"}',
    "deep arrays": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "deep metadata": b'{"metadata":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001,
    "form data": b"amount=1&currency=USD",
    "XML": b"<?xml version='1.0'?><transfer/>",
}
NO_OBJECT = {"null": b"null", "an array": b"[]", "a text": b'"{}"', "a number": b"1", "true": b"true"}
