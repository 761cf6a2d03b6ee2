"""What a problem says of the outcome, where some of a request was committed before it failed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from service.errors import (
    BatchFailedError,
    Failure,
    LedgerDamagedError,
    OverloadedError,
    StorageError,
)
from service.posting.committer import Committer
from service.storage.transactions import Reader
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, unique

FAILURES = {
    "overloaded": OverloadedError("the queue is full"),
    "contention": StorageError(Failure.CONTENTION),
    "database_unavailable": StorageError(Failure.UNAVAILABLE),
    "internal_error": BatchFailedError(in_doubt=False),
    "ledger_damaged": LedgerDamagedError(),
}


def _alone(groups: Sequence[Any], _: int) -> Iterator[Sequence[Any]]:
    """Have each group of a batch request be a part of its own."""
    return ([group] for group in groups)


def _failing_at(number: int, failure: Exception) -> Callable[..., Any]:
    submit, calls = Committer.submit, 0

    async def failing(self: Committer, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise failure
        return await submit(self, *arguments)

    return failing


@pytest.mark.parametrize("code", FAILURES)
@pytest.mark.parametrize(("number", "outcome"), [(1, "not_applied"), (2, "unknown")])
async def test_a_batch_request_that_fails_behind_its_first_part(
    ledger: LedgerClient,
    payer: JSON,
    payee: JSON,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    number: int,
    outcome: str,
) -> None:
    """Sent again, all of it is applied once."""
    items = [item(payer, payee), item(payer, payee)]
    with monkeypatch.context() as planted:
        planted.setattr("service.api.resources.batches.in_parts", _alone)
        planted.setattr(Committer, "submit", _failing_at(number, FAILURES[code]))
        refused = answer(await ledger.batch(*items))
    assert (refused["code"], refused["outcome"]) == (code, outcome)
    assert (await ledger.read_account(payer))["balance"] == 100 - (number - 1)
    again = answer(await ledger.batch(*items))
    assert [result["replayed"] for result in again["results"]] == [number == 2, False]
    assert (await ledger.read_account(payer))["balance"] == 98


@pytest.mark.parametrize("code", FAILURES)
async def test_a_fence_whose_key_cannot_be_read_afterwards(
    client: httpx.AsyncClient,
    application: Application,
    ledger: LedgerClient,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    """The fence stands, and so it is not told that nothing was applied."""
    path = f"{ledger.path}/idempotency-keys/{unique('key')}"
    primary, read = application.app.state.services.primary_reader, Reader.__call__

    async def failing(self: Reader, *arguments: Any, **options: Any) -> Any:
        if self is primary:
            raise FAILURES[code]
        return await read(self, *arguments, **options)

    with monkeypatch.context() as planted:
        planted.setattr(Reader, "__call__", failing)
        told = answer(await client.post(f"{path}/fence"))
    assert (told["code"], told["outcome"]) == (code, "unknown")
    assert answer(await client.get(path))["outcome"] == "fenced"
