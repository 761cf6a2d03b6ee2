"""Short ways to make commands, and to compare answers as words."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from service.domain.accounts import NewAccount
from service.domain.commands import FenceKey, OpenHold, PostTransfer
from service.domain.decisions import CommandAnswer
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.support.rows import MAIN

CLIENT = "client"


def transfer(
    debit: UUID, credit: UUID, amount: int = 1, *, key: str | None = None, ledger_id: int = MAIN, **terms: Any
) -> PostTransfer:
    """Return a command that moves ``amount`` US cents, under ``key`` or else under a new one."""
    return PostTransfer(
        ledger_id=ledger_id,
        client_id=CLIENT,
        idempotency_key=key or str(uuid4()),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        currency="USD",
        **terms,
    )


def opening(debit: UUID, credit: UUID, amount: int = 1, *, key: str | None = None, **terms: Any) -> OpenHold:
    """Return a command that opens a hold of ``amount`` US cents, under ``key`` or else under a new one."""
    return OpenHold(
        ledger_id=MAIN,
        client_id=CLIENT,
        idempotency_key=key or str(uuid4()),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        currency="USD",
        **terms,
    )


def new_account(**terms: Any) -> NewAccount:
    """Return what is asked for an account in US dollars, with a credit balance and without bounds."""
    usual: dict[str, Any] = {
        "currency": "USD",
        "normal_side": "credit",
        "reference": None,
        "name": None,
        "minimum_balance": None,
        "maximum_balance": None,
        "metadata": {},
    }
    return NewAccount(**(usual | terms))


def fence(key: str) -> FenceKey:
    return FenceKey(ledger_id=MAIN, client_id=CLIENT, idempotency_key=key)


def words(answers: Sequence[Sequence[CommandAnswer]]) -> list[str]:
    """Return each answer as ``applied``, ``fenced`` or the code of its rejection; ``replayed`` comes before it."""
    return [("replayed " if answer.replayed else "") + _word(answer) for group in answers for answer in group]


def _word(answer: CommandAnswer) -> str:
    if isinstance(answer.result, Rejection):
        return answer.result.code
    return "applied" if isinstance(answer.result, Transfer) else "fenced"


def posted(answers: Sequence[Sequence[CommandAnswer]]) -> list[Transfer]:
    """Return the transfers among the answers."""
    return [answer.result for group in answers for answer in group if isinstance(answer.result, Transfer)]
