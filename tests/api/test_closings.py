"""Closing a ledger up to a value date, over HTTP: what is dated before is rejected or dated forward, by everything that
moves money, and everything is told with its author.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.api.moves import begin_earlier, open_hold, post_capture, post_reversal
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, unique

DAY = timedelta(days=1)


def when(days: float) -> str:
    """The time ``days`` from now, as answers have it."""
    return (datetime.now(UTC) + days * DAY).isoformat(timespec="microseconds").replace("+00:00", "Z")


async def close(ledger: LedgerClient, until: str | None, key: str | None = None, **members: Any) -> httpx.Response:
    body = {"closed_until": until} | members
    return await ledger.client.post(f"{ledger.path}/closings", json=body, headers=keyed(key))


async def closings(ledger: LedgerClient, **query: Any) -> list[JSON]:
    items: list[JSON] = answer(await ledger.client.get(f"{ledger.path}/closings", params=query))["items"]
    return items


@pytest.fixture
async def pair(ledger: LedgerClient, application: Application) -> tuple[JSON, JSON]:
    """Two accounts that have been open for a while."""
    accounts = await ledger.account(), await ledger.account()
    await begin_earlier(ledger, application.database, 30)
    return accounts


async def asks(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> dict[str, Any]:
    """What moves money, and takes a value date."""
    capture = partial(post_capture, ledger, await open_hold(ledger, *pair))
    reverse = partial(post_reversal, ledger, await ledger.move(*pair, effective_at=when(-20)))
    return {"transfer": partial(ledger.post, *pair), "capture": capture, "reversal": reverse}


@pytest.mark.parametrize("kind", ["transfer", "reversal"])
async def test_nothing_is_dated_into_a_closed_period(ledger: LedgerClient, pair: tuple[JSON, JSON], kind: str) -> None:
    ask = (await asks(ledger, pair))[kind]
    until, before = when(-10), when(-11)
    closing = answer(await close(ledger, until))
    assert closing["closed_until"] == until
    rejected = problem(await ask(effective_at=before), 409, "period_closed")
    assert (rejected["effective_at"], rejected["closed_until"]) == (before, until)
    posted = answer(await ask(effective_at=until))
    assert posted["effective_at"] == until
    assert "requested_effective_at" not in posted


async def test_captures_too(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> None:
    """The value date of a capture does not lie before its hold, so the period is closed just now."""
    ask = (await asks(ledger, pair))["capture"]
    before = when(0)
    await asyncio.sleep(0.01)
    answer(await close(ledger, when(0)))
    problem(await ask(effective_at=before), 409, "period_closed")
    answer(await ask())


@pytest.mark.parametrize("kind", ["transfer", "reversal"])
async def test_late_entries_are_dated_forward_and_marked(
    ledger: LedgerClient, pair: tuple[JSON, JSON], kind: str
) -> None:
    ask = (await asks(ledger, pair))[kind]
    until, before = when(-10), when(-11)
    answer(await close(ledger, until, late_entries="forward"))
    posted = answer(await ask(effective_at=before, key="late"))
    assert (posted["effective_at"], posted["requested_effective_at"]) == (until, before)
    assert answer(await ask(effective_at=before, key="late")) == posted, "a replay"
    assert answer(await ledger.client.get(f"{ledger.transfers}/{posted['id']}")) == posted
    events = answer(await ledger.client.get(f"{ledger.path}/events?limit=1000"))["items"]
    [told] = [one["data"] for one in events if one["id"] == posted["id"]]
    assert (told["effective_at"], told["requested_effective_at"]) == (until, before)
    assert list(told) == sorted(told)
    others = [one["data"] for one in events if one["type"] == "funds.transfer.posted" and one["id"] != posted["id"]]
    assert all("requested_effective_at" not in one for one in others)


async def test_batches_and_dry_runs_heed_it(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> None:
    answer(await close(ledger, when(-10)))
    items = [item(*pair, effective_at=when(-11)), item(*pair, effective_at=when(-9)), item(*pair)]
    for query in ({"dry_run": "true"}, {}):
        response = await ledger.client.post(ledger.batches, json={"transfers": items}, params=query)
        results = answer(response)["results"]
        assert [one.get("problem", {}).get("code") for one in results] == ["period_closed", None, None]
    together = await ledger.batch(*(one | {"idempotency_key": unique("key")} for one in items), mode="atomic")
    results = problem(together, 422, "batch_rejected")["results"]
    assert [one["problem"]["code"] for one in results] == ["period_closed", "batch_rejected", "batch_rejected"]


async def test_a_closing_is_decided_once_under_its_key(ledger: LedgerClient) -> None:
    until = when(-3)
    first = await close(ledger, until, key="march", reason="March is done.")
    again = await close(ledger, until, key="march", reason="March is done.")
    assert (first.status_code, again.status_code) == (201, 201)
    assert answer(again) == answer(first)
    assert again.headers["Idempotency-Replayed"] == "true"
    other = problem(await close(ledger, when(-2), key="march"), 422, "idempotency_key_reused")
    assert other["earlier_request"]["closing_id"] == answer(first)["id"]
    told = answer(await ledger.client.get(other["earlier_request"]["path"]))
    assert told["closing"] == answer(first)
    assert await closings(ledger) == [answer(first)]


async def test_a_closing_moves_on_and_is_moved_back_with_a_reason(
    ledger: LedgerClient, pair: tuple[JSON, JSON]
) -> None:
    march, april = when(-20), when(-10)
    made = [answer(await close(ledger, march)), answer(await close(ledger, april, late_entries="forward"))]
    rejected = problem(await close(ledger, march), 422, "reason_missing")
    assert rejected["closed_until"] == april
    problem(await close(ledger, None, reason=" "), 422, "reason_missing")
    made.append(answer(await close(ledger, march, reason="An invoice of April was lost.")))
    assert answer(await ledger.post(*pair, effective_at=when(-15)))["effective_at"] < april
    problem(await ledger.post(*pair, effective_at=when(-21)), 409, "period_closed")
    made.append(answer(await close(ledger, None, reason="Audited anew.")))
    answer(await ledger.post(*pair, effective_at=when(-21)))

    assert await closings(ledger) == made[::-1]
    assert await closings(ledger, order="asc") == made
    assert await closings(ledger, limit=1) == made[-1:]
    events = answer(await ledger.client.get(f"{ledger.path}/events?limit=1000"))["items"]
    told = [one for one in events if one["type"].startswith("funds.period.")]
    assert [one["type"].removeprefix("funds.period.") for one in told] == ["closed", "closed", "reopened", "reopened"]
    assert [one["data"] for one in told] == [
        {name: one[name] for name in ("closed_until", "late_entries", "reason")} for one in made
    ]
    assert {(one["client"], one["subject"]) for one in told} == {("admin", "00000000-0000-0000-0000-000000000000")}
    assert [one["id"] for one in told] == [one["id"] for one in made]


async def test_the_time_of_a_closing_has_any_offset_and_is_told_in_utc(ledger: LedgerClient) -> None:
    closing = answer(await close(ledger, "2026-01-01T01:00:00+01:00"))
    assert closing["closed_until"] == "2026-01-01T00:00:00Z"
    assert await closings(ledger) == [closing]


async def test_what_is_to_come_is_not_closed(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> None:
    assert problem(await close(ledger, when(1)), 422, "time_out_of_range")["field"] == "closed_until"
    answer(await close(ledger, when(0)))
    answer(await ledger.post(*pair))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/closed_until"),
        ({"closed_until": "2026-01-01"}, "/closed_until"),
        ({"closed_until": None, "late_entries": "ignore"}, "/late_entries"),
        ({"closed_until": None, "reason": "a\x00"}, "/reason"),
        ({"closed_until": None, "more": 1}, "/more"),
    ],
)
async def test_a_closing_that_is_malformed(ledger: LedgerClient, body: JSON, pointer: str) -> None:
    response = await ledger.client.post(f"{ledger.path}/closings", json=body, headers=keyed())
    assert pointers(response) == [pointer] or pointers(response) == [""]


async def test_another_ledger_stays_open(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> None:
    other = await LedgerClient.open(ledger.client, f"{ledger.name}-2")
    answer(await close(other, when(-1)))
    answer(await ledger.post(*pair, effective_at=when(-2)))
    assert await closings(ledger) == []


async def test_who_is_no_admin_closes_nothing(ledger: LedgerClient, make_client: MakeClient) -> None:
    clerk = ledger.seen_by(await make_client("read", "transfers:write", "accounts:write"))
    problem(await close(clerk, when(-1)), 403, "forbidden")
    assert await closings(clerk) == []


async def test_postings_and_a_closing_at_the_same_time(ledger: LedgerClient, pair: tuple[JSON, JSON]) -> None:
    """Each is before the closing or after it, as the history has them: what came after was rejected."""
    before = when(-11)
    posted, _ = await asyncio.gather(
        asyncio.gather(*(ledger.post(*pair, effective_at=before) for _ in range(40))), close(ledger, when(-10))
    )
    counted = Counter(response.status_code for response in posted)
    assert set(counted) <= {201, 409}
    events = answer(await ledger.client.get(f"{ledger.path}/events?limit=1000"))["items"]
    types = [one["type"] for one in events if "account" not in one["type"] and "ledger" not in one["type"]]
    place = types.index("funds.period.closed")
    assert types == ["funds.transfer.posted"] * place + ["funds.period.closed"] + ["funds.command.rejected"] * (
        40 - place
    )
    assert counted[201] == place
