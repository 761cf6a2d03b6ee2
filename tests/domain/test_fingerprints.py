"""Fingerprints are stored for ever: those of today must come out the same tomorrow, or every replay would break."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from msgspec import field

from service.cli.import_runs import CLIENT
from service.cli.importing import opening
from service.domain.commands import (
    CaptureHold,
    Command,
    FenceKey,
    OpenHold,
    PostTransfer,
    ReverseTransfer,
    VoidHold,
)
from service.domain.fingerprints import FIRST_MEMBERS, fingerprint, request_fingerprint
from service.domain.ledgers import StoredLedger
from service.wire.accounts import AccountRequest
from service.wire.ledgers import LedgerRequest

A, B, NAMED = UUID(int=0xA), UUID(int=0xB), UUID(int=0x10)
TIME = datetime(2026, 11, 26, 12, 30, tzinfo=UTC)
MONEY: dict[str, Any] = {"debit_account_id": A, "credit_account_id": B, "amount": 10, "currency": "USD"}
TEXTS: dict[str, Any] = {"reference": "r", "description": "d", "metadata": {"b": "2", "a": "1"}}

# As stored on 2026-11-26: once with every member given, and once without the optional ones.
STORED: list[tuple[type[Command], dict[str, Any], str]] = [
    (PostTransfer, MONEY, "bb89da13922ea3c3fcbd850dace121d5"),
    (PostTransfer, MONEY | TEXTS | {"at_most": True, "effective_at": TIME}, "918c76fdd7630e1133afa9997ed555a3"),
    (OpenHold, MONEY, "e1910aa8a1f96c3977c580bf6d9fd7c0"),
    (OpenHold, MONEY | TEXTS | {"expires_at": TIME, "expires_in_seconds": 60}, "6b853f32dc724d173efde61b7dc4fbee"),
    (CaptureHold, {"hold_id": NAMED}, "04b988031b7a5d6042fdcf4d50399db2"),
    (
        CaptureHold,
        TEXTS | {"hold_id": NAMED, "amount": 3, "final": False, "effective_at": TIME},
        "9d199a2b71a97078cdf46c4baa0f3899",
    ),
    (VoidHold, {"hold_id": NAMED}, "3ba0644ab8a88ad4a5c5f144cc338b31"),
    (ReverseTransfer, {"transfer_id": NAMED}, "788bef068bd0f39ab01ac41429de7781"),
    (
        ReverseTransfer,
        TEXTS | {"transfer_id": NAMED, "amount": 3, "effective_at": TIME},
        "2d4a09992093035af53e932bc5a4f2b1",
    ),
    (FenceKey, {}, "e8225b52ded9876df435842fd12cb028"),
]
FULL_ACCOUNT = AccountRequest(
    currency="USD",
    reference="r",
    name="n",
    normal_side="debit",
    minimum_balance=-5,
    maximum_balance=5,
    metadata={"b": "2", "a": "1"},
)
STORED_ACCOUNTS = [
    (AccountRequest(currency="USD"), "b0a53ba6dd801dfefa7b7d7b95e0586e", "dfd3e39d17315cecaa98ad64ce347742"),
    (FULL_ACCOUNT, "1b4219a6f49a3e7e121a3838609a4afd", "ef2bc4087afd7d71e41ad7fe00106134"),
]

# As they were first stored with a code, on 2026-11-27.
STORED_CODED = [
    (
        AccountRequest(currency="USD", code="1000:cash:eur"),
        "cfb9af02f78df32cb85c60a849b05162",
        "bec0d19c3ca6486f85dc267f45cf48d6",
    )
]


def _of(kind: type[Command], **terms: Any) -> str:
    return kind(ledger_id=7, client_id="client", idempotency_key="key", **terms).fingerprint.hex()


@pytest.mark.parametrize(("kind", "terms", "stored"), STORED)
def test_commands_of_today(kind: type[Command], terms: dict[str, Any], stored: str) -> None:
    assert _of(kind, **terms) == stored


def test_every_command_and_all_its_terms_have_a_stored_fingerprint() -> None:
    assert {kind for kind, _, _ in STORED} == set(Command.__subclasses__())
    for kind in Command.__subclasses__():
        said = set().union(*(terms for one, terms, _ in STORED if one is kind))
        assert said == set(FIRST_MEMBERS.get(kind.operation, ()))


@pytest.mark.parametrize(("request_", "stored", "stored_key"), [*STORED_ACCOUNTS, *STORED_CODED])
def test_accounts_of_today_and_the_keys_of_their_imports(
    request_: AccountRequest, stored: str, stored_key: str
) -> None:
    assert request_fingerprint("create_account", request_).hex() == stored
    key = opening(StoredLedger(id=1, name="main", description=None, created_at=datetime.now(UTC)), CLIENT, request_).key
    assert (key.idempotency_key, key.fingerprint.hex()) == (f"account-{stored_key}", stored)


@pytest.mark.parametrize(
    ("request_", "stored"),
    [
        (LedgerRequest(name="main"), "1bd6f8d5eebd6ee20e33030a89cf0d6c"),
        (LedgerRequest(name="main", description="d"), "98810abcb6a90d76ad21b7635fa40f6f"),
    ],
)
def test_ledgers_of_today(request_: LedgerRequest, stored: str) -> None:
    assert request_fingerprint("create_ledger", request_).hex() == stored


def test_parts_have_the_digest_that_they_always_had() -> None:
    assert fingerprint("post_transfer", {"amount": 10, "id": UUID(int=1)}).hex() == "859f86fe541e3886bcc2d0d773e012ac"


class LaterTransfer(PostTransfer, frozen=True, kw_only=True, gc=False):
    """A transfer with optional members that were added later."""

    channel: str | None = None
    tags: list[str] = field(default_factory=list)
    urgent: bool = False


class LaterVoid(VoidHold, frozen=True, kw_only=True, gc=False):
    reason: str | None = None


class LaterFence(FenceKey, frozen=True, kw_only=True, gc=False):
    reason: str | None = None


class LaterAccount(AccountRequest, kw_only=True, frozen=True):
    product: str | None = None


LATER: dict[type[Command], type[Command]] = {PostTransfer: LaterTransfer, VoidHold: LaterVoid, FenceKey: LaterFence}


def test_later_members_count_where_they_are_given() -> None:
    given: list[dict[str, Any]] = [{}, {"channel": "web"}, {"tags": ["a"]}, {"tags": ["b"]}, {"urgent": True}]
    assert len({_of(LaterTransfer, **MONEY, **more) for more in given}) == len(given)
    assert _of(LaterTransfer, **MONEY, channel="web") == _of(LaterTransfer, **MONEY, channel="web", tags=[])


def test_a_member_that_comes_later_changes_no_stored_fingerprint() -> None:
    for kind, terms, stored in STORED:
        assert _of(LATER.get(kind, kind), **terms) == stored
    assert _of(LaterTransfer, **MONEY, channel=None, tags=[], urgent=False) == _of(PostTransfer, **MONEY)
    for request, stored, _ in STORED_ACCOUNTS:
        given = {name: getattr(request, name) for name in AccountRequest.__struct_fields__}
        assert request_fingerprint("create_account", LaterAccount(**given)).hex() == stored
        assert request_fingerprint("create_account", LaterAccount(**given, product="p")).hex() != stored


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a", "b"), ("b", "a")),
        (("a", 1), ("a", "1")),
        (("a", None), ("a",)),
        (("a", 0), ("a", False)),
        (("a", {"k": None}), ("a", {})),
        (("a", ["b", "c"]), ("a", "b", "c")),
    ],
)
def test_different_parts_have_different_fingerprints(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_the_order_of_members_does_not_matter() -> None:
    assert fingerprint("a", {"x": 1, "y": {"p": 2, "q": 3}}) == fingerprint("a", {"y": {"q": 3, "p": 2}, "x": 1})
