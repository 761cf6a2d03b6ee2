"""Dry runs: the full decision, nothing stored, the key left as it was."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.moves import capture, fence, funded, open_hold, post_hold, read_key, void
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed, pointers, problem, transfer

Ask = Callable[..., Awaitable[httpx.Response]]

# Members that only stored facts have: the identifier, and the time of storing.
NAMES_AND_TIMES = {"id", "group_id", "created_at", "effective_at", "expires_at", "closed_at"}


class Question:
    """A POST that has a dry run."""

    def __init__(self, ledger: LedgerClient, path: str, body: JSON | None = None) -> None:
        self._ledger, self._path, self._body = ledger, path, body

    async def dry_run(self, key: str | None = "key", flag: str = "true") -> httpx.Response:
        return await self._send(key, {"dry_run": flag})

    async def ask(self, key: str | None = "key") -> httpx.Response:
        return await self._send(key, {})

    async def _send(self, key: str | None, query: dict[str, str]) -> httpx.Response:
        headers = {} if key is None else keyed(key)
        return await self._ledger.client.post(
            f"{self._ledger.path}{self._path}", json=self._body, headers=headers, params=query
        )


async def question(ledger: LedgerClient, payer: JSON, payee: JSON, operation: str) -> Question:
    """Return a request of ``operation`` that moves, reserves, captures, frees or reverses 30."""
    body = transfer(payer, payee, amount=30)
    match operation:
        case "transfer":
            return Question(ledger, "/transfers", body)
        case "sweep":
            return Question(ledger, "/transfers", body | {"amount": {"at_most": 1_000}})
        case "hold":
            return Question(ledger, "/holds", body)
        case "reversal":
            posted = await ledger.move(payer, payee, 30)
            return Question(ledger, f"/transfers/{posted['id']}/reversals", {})
    hold = await open_hold(ledger, payer, payee, 30)
    if operation == "part":
        return Question(ledger, f"/holds/{hold['id']}/captures", {"amount": 10, "final": False})
    return ending(ledger, hold, "void" if operation == "void" else "captures")


def ending(ledger: LedgerClient, hold: JSON, end: str) -> Question:
    """Return the question that ends ``hold``."""
    return Question(ledger, f"/holds/{hold['id']}/{end}", {} if end == "captures" else None)


OPERATIONS = ["transfer", "sweep", "hold", "capture", "part", "void", "reversal"]


async def rows(application: Application, ledger: LedgerClient) -> dict[str, int]:
    """Return all that the database holds of the ledger: a digest of each table's rows."""
    connection = await asyncpg.connect(application.database.superuser_url)
    try:
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", ledger.name)
        tables = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'funds' AND column_name = 'ledger_id'"
        )
        assert {"accounts", "transfers", "holds", "decisions", "reversed_transfers"} <= {name for (name,) in tables}
        return {
            name: await connection.fetchval(
                f"SELECT coalesce(sum(hashtextextended(content::text, 0)::numeric), 0) FROM funds.{name} AS content"
                " WHERE ledger_id = $1",
                ledger_id,
            )
            for (name,) in tables
        }
    finally:
        await connection.close()


def _lasting(made: JSON) -> JSON:
    return {name: value for name, value in made.items() if name not in NAMES_AND_TIMES}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_dry_run_tells_what_would_be_and_stores_nothing(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, operation: str
) -> None:
    asked = await question(ledger, payer, payee, operation)
    before = await rows(application, ledger)
    foretold = [await asked.dry_run(), await asked.dry_run(), await asked.dry_run(key=None)]
    assert await rows(application, ledger) == before
    assert {response.status_code for response in foretold} == {200}
    assert not any({"location", "idempotency-replayed"} & response.headers.keys() for response in foretold)
    assert (await read_key(ledger, "key"))["outcome"] == "never_seen"

    real = await asked.ask()
    assert real.status_code == (200 if operation == "void" else 201)
    assert "Idempotency-Replayed" not in real.headers
    for response in foretold:
        assert _lasting(answer(response)) == _lasting(answer(real))
        assert answer(response)["id"] == answer(real)["id"] or operation != "void"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_dry_run_of_what_was_done_replays_it(
    ledger: LedgerClient, payer: JSON, payee: JSON, operation: str
) -> None:
    asked = await question(ledger, payer, payee, operation)
    real = await asked.ask()
    again = await asked.dry_run()
    assert (again.status_code, answer(again)) == (real.status_code, answer(real))
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("operation", ["transfer", "hold", "sweep"])
async def test_a_rejection_is_foretold_by_a_dry_run_too(
    application: Application, ledger: LedgerClient, payee: JSON, operation: str
) -> None:
    """The rejection has all its numbers, and the key can still be used once the money has arrived."""
    poor = await funded(ledger, 0)
    asked = await question(ledger, poor, payee, operation)
    before = await rows(application, ledger)
    refused = problem(await asked.dry_run(), 422, "insufficient_funds")
    assert await rows(application, ledger) == before
    assert (refused["available_balance"], refused["shortfall"]) == (0, 1 if operation == "sweep" else 30)
    await ledger.move(await ledger.account(), poor, 30)
    assert (await asked.ask()).status_code == 201


async def test_a_hold_that_has_ended(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee)
    for end in ("captures", "void"):
        assert (await ending(ledger, hold, end).dry_run()).status_code == 200
    await capture(ledger, hold)
    for end in ("captures", "void"):
        problem(await ending(ledger, hold, end).dry_run(), 409, "hold_not_open")


async def test_keys_are_looked_at(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    asked = await question(ledger, payer, payee, "transfer")
    await fence(ledger, "fenced")
    problem(await asked.dry_run("fenced"), 409, "key_fenced")
    await post_hold(ledger, payer, payee, "used")
    problem(await asked.dry_run("used"), 422, "idempotency_key_reused")
    assert problem(await asked.dry_run("no key"), 400, "idempotency_key_invalid")


async def test_a_dry_run_needs_no_key_and_a_real_one_does(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    asked = await question(ledger, payer, payee, "transfer")
    assert (await asked.dry_run(None)).status_code == 200
    problem(await asked.ask(None), 400, "idempotency_key_required")
    problem(await asked.dry_run(None, flag="false"), 400, "idempotency_key_required")


@pytest.mark.parametrize("flag", ["", "maybe", "2"])
async def test_a_flag_that_is_none(ledger: LedgerClient, payer: JSON, payee: JSON, flag: str) -> None:
    asked = await question(ledger, payer, payee, "transfer")
    assert pointers(await asked.dry_run(flag=flag)) == ["/query/dry_run"]
    assert (await ledger.read_account(payer))["version"] == payer["version"]


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_a_dry_run_of_a_batch_covers_it_as_a_whole(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, mode: str
) -> None:
    """Each item sees the effects that the items before it would have."""
    third = await funded(ledger, 0)
    items = [item(payer, third, amount=100), item(third, payee, amount=60), item(third, payee, amount=40, hold={})]
    asked = Question(ledger, "/transfers/batch", {"transfers": items, "mode": mode})
    before = await rows(application, ledger)
    foretold = await asked.dry_run(key=None)
    assert await rows(application, ledger) == before
    real = await asked.ask(key=None)
    assert (foretold.status_code, real.status_code) == (200, 201)
    assert (answer(foretold)["posted"], answer(foretold)["rejected"]) == (3, 0)
    for told, made in zip(answer(foretold)["results"], answer(real)["results"], strict=True):
        kind = "hold" if "hold" in made else "transfer"
        assert _lasting(told[kind]) == _lasting(made[kind])
        assert (told["replayed"], made["replayed"]) == (False, False)


@pytest.mark.parametrize(("mode", "status"), [("independent", 207), ("atomic", 422)])
async def test_a_batch_of_which_some_would_be_rejected(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON, mode: str, status: int
) -> None:
    items = [item(payer, payee, amount=60), item(payer, payee, amount=50)]
    asked = Question(ledger, "/transfers/batch", {"transfers": items, "mode": mode})
    before = await rows(application, ledger)
    foretold = await asked.dry_run(key=None)
    assert await rows(application, ledger) == before
    assert foretold.status_code == status
    codes: list[Any] = [result.get("problem", {}).get("code") for result in answer(foretold)["results"]]
    assert codes == ["batch_rejected" if mode == "atomic" else None, "insufficient_funds"]
    await ledger.move(await ledger.account(), payer, 10)
    assert (await asked.ask(key=None)).status_code == 201


async def test_only_requests_that_move_money_have_dry_runs(ledger: LedgerClient) -> None:
    for path, body in (("/accounts", {"currency": "USD"}), ("/idempotency-keys/k/fence", None)):
        assert pointers(await Question(ledger, path, body).dry_run()) == ["/query/dry_run"]


async def test_a_dry_run_of_a_void_leaves_the_hold_open(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(ledger, payer, payee, 30)
    told = answer(await Question(ledger, f"/holds/{hold['id']}/void").dry_run())
    assert told["status"] == "voided"
    assert (await void(ledger, hold))["status"] == "voided"
