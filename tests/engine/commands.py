"""Commands as short as tests want them, and answers in a word."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from service.domain.book import Answer
from service.domain.commands import FenceKey, PostTransfer
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.rows import MAIN

CLIENT = "client"


def transfer(
    debit: UUID, credit: UUID, amount: int = 1, *, key: str | None = None, ledger_id: int = MAIN, **terms: Any
) -> PostTransfer:
    """Return the wish to move ``amount`` US cents, under a key of its own unless ``key`` says otherwise."""
    return PostTransfer.of(
        ledger_id,
        CLIENT,
        key or str(uuid4()),
        debit_account_id=debit,
        credit_account_id=credit,
        amount=amount,
        currency="USD",
        **terms,
    )


def fence(key: str) -> FenceKey:
    return FenceKey.of(MAIN, CLIENT, key)


def words(answers: Sequence[Sequence[Answer]]) -> list[str]:
    """Return each answer as ``applied``, ``fenced`` or the code of its rejection; ``replayed`` comes before it."""
    return [("replayed " if answer.replayed else "") + _word(answer) for unit in answers for answer in unit]


def _word(answer: Answer) -> str:
    if isinstance(answer.outcome, Rejection):
        return answer.outcome.code
    return "applied" if isinstance(answer.outcome, Transfer) else "fenced"


def posted(answers: Sequence[Sequence[Answer]]) -> list[Transfer]:
    """Return the transfers among the answers."""
    return [answer.outcome for unit in answers for answer in unit if isinstance(answer.outcome, Transfer)]
