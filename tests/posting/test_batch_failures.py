"""A fault of ours fails the whole batch and is logged: it is not taken for a refusal of the database."""

import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.domain.commands import PostTransfer
from service.domain.decide import decide_transfer
from service.errors import BatchFailedError
from service.posting.committer import Committer
from service.settings import Settings
from service.storage.database import Database
from service.storage.group_commit import writing
from tests.posting.callers import Start, submit
from tests.support.commands import transfer, words
from tests.support.committing import commit_batch
from tests.support.invariants import assert_ledger_is_sound
from tests.support.rows import MAIN, add_accounts

Plant = Callable[[pytest.MonkeyPatch], None]


class PlantedError(Exception):
    """A bug."""


def _in_the_rules(planted: pytest.MonkeyPatch) -> None:
    def broken(command: PostTransfer, *arguments: Any, **options: Any) -> object:
        if command.reference == "bad":
            raise PlantedError
        return decide_transfer(command, *arguments, **options)

    planted.setattr("service.domain.executor.decide_transfer", broken)


def _in_the_encoding(planted: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> bytes:
        raise PlantedError

    planted.setattr("service.storage.group_commit.binary_copy.encode_decision", broken)


def _in_an_assertion(planted: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> dict[UUID, str]:
        raise AssertionError("counted twice") from PlantedError()

    planted.setattr(writing, "_currencies", broken)


every_fault = pytest.mark.parametrize("plant", [_in_the_rules, _in_the_encoding, _in_an_assertion])


@every_fault
async def test_a_fault_of_ours_fails_the_batch(
    batch_database: Database,
    settings: Settings,
    superuser: asyncpg.Connection,
    superuser_url: str,
    monkeypatch: pytest.MonkeyPatch,
    plant: Plant,
) -> None:
    """Nothing is stored, no group is written one by one, and once the fault is gone the same keys apply."""
    a, b = await add_accounts(superuser, 2)
    groups = [[transfer(a, b)], [transfer(b, a, reference="bad")], [transfer(a, b)]]
    with monkeypatch.context() as planted:
        plant(planted)
        with pytest.raises(BatchFailedError) as caught:
            await commit_batch(batch_database, settings, MAIN, groups)
    assert not caught.value.in_doubt
    assert await superuser.fetchval("SELECT count(*) FROM funds.decisions") == 0
    assert words(await commit_batch(batch_database, settings, MAIN, groups)) == ["applied"] * 3
    await assert_ledger_is_sound(superuser_url)


@every_fault
async def test_a_fault_of_ours_is_logged_with_its_traceback(
    start: Start,
    superuser: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plant: Plant,
) -> None:
    a, b = await add_accounts(superuser, 2)
    committer: Committer = await start()
    plant(monkeypatch)
    with caplog.at_level(logging.WARNING), pytest.raises(BatchFailedError):
        await submit(committer, transfer(a, b, reference="bad"))
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "batch failed")
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert isinstance(error, PlantedError) or isinstance(getattr(error, "__cause__", None), PlantedError)
    assert error is not None
    assert error.__traceback__ is not None
