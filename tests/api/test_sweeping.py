"""The sweeper: what expired holds reserved is free within a second."""

from datetime import datetime, timedelta

import pytest

from tests.api.moves import capture, expire, freed, held, open_hold
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient

# What a hold may wait for the sweeper: its interval is a quarter of it.
FREED_SECONDS_MAX = 1.0


@pytest.mark.parametrize("captured", [0, 10])
async def test_the_sweeper_frees_an_expired_hold_within_a_second(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, captured: int
) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    if captured:
        await capture(ledger, hold, amount=captured, final=False)
    passed = await expire(ledger, application.database, hold)
    ended = await freed(ledger, hold)
    payer, payee = await ledger.read_account(payer), await ledger.read_account(payee)
    assert ended == passed | {
        "status": "expired",
        "closed_at": ended["closed_at"],
        "closed_debit_account_version": payer["version"],
        "closed_credit_account_version": payee["version"],
    }
    lateness = datetime.fromisoformat(ended["closed_at"]) - datetime.fromisoformat(passed["expires_at"])
    assert timedelta(0) <= lateness < timedelta(seconds=FREED_SECONDS_MAX)
    assert held(payer) == (100 - captured, 100 - captured, 0, 0)
    assert held(payee) == (captured, captured, 0, 0)
    await ledger.move(payer, payee, 100 - captured)


async def test_a_hold_ends_by_itself(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    """The shortest time that a caller may give."""
    hold = await open_hold(ledger, payer, payee, 30, expires_in_seconds=1)
    ended = await freed(ledger, hold)
    assert ended["status"] == "expired"
    assert hold["expires_at"] <= ended["closed_at"]
