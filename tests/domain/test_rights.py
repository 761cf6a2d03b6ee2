"""What a token may debit: by account, by code, of every kind of command; nothing of what it may not is remembered."""

from itertools import product
from typing import Any, TypeVar
from uuid import UUID

import pytest
from msgspec import structs

from service.domain.commands import CaptureHold, Command, OpenHold, PostTransfer, ReverseTransfer, VoidHold
from service.domain.rejections import DebitNotAllowed
from service.domain.rights import DebitLimit
from tests.domain.batches import Batch, words
from tests.support.domain_samples import (
    A,
    B,
    C,
    account,
    capture,
    hold,
    in_possession_of,
    open_hold,
    post,
    reverse,
    transfer,
    void,
)

CallersCommand = PostTransfer | OpenHold | CaptureHold | VoidHold | ReverseTransfer

BOTH_WAYS = [(A, B), (B, A)]
DEBITS: dict[str, tuple[CallersCommand, UUID]] = {
    "transfer": (post(A, B, 1), A),
    "balancing": (post(A, B, 1, at_most=True), A),
    "hold": (open_hold(A, B, 1), A),
    "capture": (capture(hold().id), hold().debit_account_id),
    "void": (void(hold().id), hold().debit_account_id),
    "reversal": (reverse(), transfer().credit_account_id),
}
"""Commands of every kind, and the account that each debits, or of which it frees what a hold reserves."""


K = TypeVar("K", bound=Command)


def limited(command: K, *account_ids: UUID, codes: tuple[str, ...] = ()) -> K:
    return structs.replace(command, debit_limit=DebitLimit(frozenset(account_ids), codes))


def batch(**loaded: Any) -> Batch:
    return Batch(
        in_possession_of(100, A, debits_held=10, version=4),
        in_possession_of(100, B, credits_held=10, version=8),
        account(C),
        holds=[hold()],
        transfers=[transfer()],
        **loaded,
    )


@pytest.mark.parametrize("kind", DEBITS)
def test_an_account_that_is_among_them_may_be_debited_and_no_other(kind: str) -> None:
    command, debit = DEBITS[kind]
    for allowed in (A, B, C):
        [answer] = batch().execute(limited(command, allowed))
        assert isinstance(answer.result, DebitNotAllowed) == (allowed != debit)
        if allowed != debit:
            assert answer.result == DebitNotAllowed(debit)


@pytest.mark.parametrize("kind", DEBITS)
def test_what_is_not_allowed_changes_nothing_and_is_not_remembered(kind: str) -> None:
    command, debit = DEBITS[kind]
    tried = batch()
    before = tried.state()
    tried.execute(limited(command, C))
    assert tried.state() == before
    assert tried.batch_state.new_entries == []
    [answer] = tried.execute(limited(command, debit))
    assert not answer.replayed
    assert words([answer]) != ["debit_not_allowed"]


@pytest.mark.parametrize(
    ("group", "code", "told"),
    [
        ("1000", "1000", "allowed"),
        ("1000", "1000:cash", "allowed"),
        ("1000", "1000:cash:eur", "allowed"),
        ("1000:cash", "1000", "not allowed"),
        ("1000", "10000", "not allowed"),
        ("1000", "100", "not allowed"),
        ("1000", "2000:1000", "not allowed"),
        ("1000", None, "not allowed"),
    ],
)
def test_a_code_stands_for_itself_and_what_is_behind_it(group: str, code: str | None, told: str) -> None:
    for kind, (command, debit) in DEBITS.items():
        tried = batch(codes={A: None, B: None, C: "1000"} | {debit: code})
        [answer] = tried.execute(limited(command, codes=("9", group)))
        assert isinstance(answer.result, DebitNotAllowed) == (told == "not allowed"), kind


def test_a_limit_without_accounts_allows_nothing() -> None:
    for command, _ in DEBITS.values():
        assert words(batch(codes={A: "1000", B: "1000"}).execute(limited(command))) == ["debit_not_allowed"]


def test_what_is_not_there_is_for_the_rules_of_the_operation() -> None:
    unknown = UUID(int=99)
    assert words(batch().execute(limited(capture(unknown), C))) == ["hold_not_found"]
    assert words(batch().execute(limited(void(unknown), C))) == ["hold_not_found"]
    assert words(batch().execute(limited(reverse(unknown), C))) == ["transfer_not_found"]
    assert words(batch().execute(limited(post(unknown, B, 1), unknown))) == ["account_not_found"]
    assert words(batch().execute(limited(post(unknown, B, 1), C))) == ["debit_not_allowed"], "nor is that told"


def test_a_key_that_was_used_answers_as_before() -> None:
    tried = batch()
    assert words(tried.execute(post(A, B, 1, key="k"))) == ["transfer"]
    assert words(tried.execute(limited(post(A, B, 1, key="k"), C))) == ["replayed transfer"]
    assert words(tried.execute(limited(post(A, B, 2, key="k"), C))) == ["idempotency_key_reused"]


@pytest.mark.parametrize("order", BOTH_WAYS)
def test_a_group_with_one_that_is_not_allowed_leaves_nothing(order: tuple[UUID, UUID]) -> None:
    group = [limited(post(debit, C, 1, key=str(debit)), A) for debit in order]
    tried = batch()
    before = tried.state()
    answers = tried.execute(*group)
    told = {A: "batch_rejected", B: "debit_not_allowed"}
    assert words(answers) == [told[debit] for debit in order]
    assert tried.state() == before
    again = [structs.replace(command, debit_limit=None) for command in group]
    assert words(tried.execute(*again)) == ["transfer", "transfer"], "by a token that may"


def test_a_limit_is_no_part_of_what_is_asked_for() -> None:
    for (command, _), ids in product(DEBITS.values(), ((), (A,), (A, B))):
        other = limited(command, *ids)
        made = type(other)(**(structs.asdict(other) | {"fingerprint": b""}))
        assert made.fingerprint == command.fingerprint
        assert made.terms() == command.terms()
