"""Dry runs: the full decision, nothing stored, the key left as it was."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.api.conftest import Application
from tests.api.ledger import JSON, Book, answer, item, keyed, pointers, problem, transfer
from tests.api.moves import capture, fence, funded, open_hold, post_hold, read_key, void

Ask = Callable[..., Awaitable[httpx.Response]]

# What only what is stored has: its name, and when it was stored.
NAMES_AND_TIMES = {"id", "group_id", "created_at", "effective_at", "expires_at", "closed_at"}


class Question:
    """A POST that can be rehearsed."""

    def __init__(self, book: Book, path: str, body: JSON | None = None) -> None:
        self._book, self._path, self._body = book, path, body

    async def rehearse(self, key: str | None = "key", flag: str = "true") -> httpx.Response:
        return await self._send(key, {"dry_run": flag})

    async def ask(self, key: str | None = "key") -> httpx.Response:
        return await self._send(key, {})

    async def _send(self, key: str | None, query: dict[str, str]) -> httpx.Response:
        headers = {} if key is None else keyed(key)
        return await self._book.client.post(
            f"{self._book.path}{self._path}", json=self._body, headers=headers, params=query
        )


async def question(book: Book, payer: JSON, payee: JSON, operation: str) -> Question:
    """Return a question that is answered by 30 moved, reserved, captured, freed or moved back."""
    body = transfer(payer, payee, amount=30)
    match operation:
        case "transfer":
            return Question(book, "/transfers", body)
        case "sweep":
            return Question(book, "/transfers", body | {"amount": {"at_most": 1_000}})
        case "hold":
            return Question(book, "/holds", body)
        case "reversal":
            posted = await book.move(payer, payee, 30)
            return Question(book, f"/transfers/{posted['id']}/reversals", {})
    hold = await open_hold(book, payer, payee, 30)
    if operation == "part":
        return Question(book, f"/holds/{hold['id']}/captures", {"amount": 10, "final": False})
    return settling(book, hold, "void" if operation == "void" else "captures")


def settling(book: Book, hold: JSON, end: str) -> Question:
    """Return the question that ends ``hold``."""
    return Question(book, f"/holds/{hold['id']}/{end}", {} if end == "captures" else None)


OPERATIONS = ["transfer", "sweep", "hold", "capture", "part", "void", "reversal"]


async def rows(application: Application, book: Book) -> dict[str, int]:
    """Return all that the database holds of the ledger: a digest of each table's rows."""
    connection = await asyncpg.connect(application.database.superuser_url)
    try:
        ledger_id = await connection.fetchval("SELECT id FROM funds.ledgers WHERE name = $1", book.name)
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
    application: Application, book: Book, payer: JSON, payee: JSON, operation: str
) -> None:
    asked = await question(book, payer, payee, operation)
    before = await rows(application, book)
    rehearsed = [await asked.rehearse(), await asked.rehearse(), await asked.rehearse(key=None)]
    assert await rows(application, book) == before
    assert {response.status_code for response in rehearsed} == {200}
    assert not any({"location", "idempotency-replayed"} & response.headers.keys() for response in rehearsed)
    assert (await read_key(book, "key"))["outcome"] == "never_seen"

    real = await asked.ask()
    assert real.status_code == (200 if operation == "void" else 201)
    assert "Idempotency-Replayed" not in real.headers
    for response in rehearsed:
        assert _lasting(answer(response)) == _lasting(answer(real))
        assert answer(response)["id"] == answer(real)["id"] or operation != "void"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_dry_run_of_what_was_done_replays_it(book: Book, payer: JSON, payee: JSON, operation: str) -> None:
    asked = await question(book, payer, payee, operation)
    real = await asked.ask()
    again = await asked.rehearse()
    assert (again.status_code, answer(again)) == (real.status_code, answer(real))
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("operation", ["transfer", "hold", "sweep"])
async def test_a_refusal_is_rehearsed_too(application: Application, book: Book, payee: JSON, operation: str) -> None:
    """With every number; and the key still serves when the money has come."""
    poor = await funded(book, 0)
    asked = await question(book, poor, payee, operation)
    before = await rows(application, book)
    refused = problem(await asked.rehearse(), 422, "insufficient_funds")
    assert await rows(application, book) == before
    assert (refused["available_balance"], refused["shortfall"]) == (0, 1 if operation == "sweep" else 30)
    await book.move(await book.account(), poor, 30)
    assert (await asked.ask()).status_code == 201


async def test_a_hold_that_has_ended(book: Book, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(book, payer, payee)
    for end in ("captures", "void"):
        assert (await settling(book, hold, end).rehearse()).status_code == 200
    await capture(book, hold)
    for end in ("captures", "void"):
        problem(await settling(book, hold, end).rehearse(), 409, "hold_not_open")


async def test_keys_are_looked_at(book: Book, payer: JSON, payee: JSON) -> None:
    asked = await question(book, payer, payee, "transfer")
    await fence(book, "fenced")
    problem(await asked.rehearse("fenced"), 409, "key_fenced")
    await post_hold(book, payer, payee, "used")
    problem(await asked.rehearse("used"), 422, "idempotency_key_reused")
    assert problem(await asked.rehearse("no key"), 400, "idempotency_key_invalid")


async def test_a_dry_run_needs_no_key_and_a_real_one_does(book: Book, payer: JSON, payee: JSON) -> None:
    asked = await question(book, payer, payee, "transfer")
    assert (await asked.rehearse(None)).status_code == 200
    problem(await asked.ask(None), 400, "idempotency_key_required")
    problem(await asked.rehearse(None, flag="false"), 400, "idempotency_key_required")


@pytest.mark.parametrize("flag", ["", "maybe", "2"])
async def test_a_flag_that_is_none(book: Book, payer: JSON, payee: JSON, flag: str) -> None:
    asked = await question(book, payer, payee, "transfer")
    assert pointers(await asked.rehearse(flag=flag)) == ["/query/dry_run"]
    assert (await book.read_account(payer))["version"] == payer["version"]


@pytest.mark.parametrize("mode", ["independent", "atomic"])
async def test_a_batch_is_rehearsed_as_a_whole(
    application: Application, book: Book, payer: JSON, payee: JSON, mode: str
) -> None:
    """Each item sees what those before it would have done."""
    third = await funded(book, 0)
    items = [item(payer, third, amount=100), item(third, payee, amount=60), item(third, payee, amount=40, hold={})]
    asked = Question(book, "/transfers/batch", {"transfers": items, "mode": mode})
    before = await rows(application, book)
    rehearsed = await asked.rehearse(key=None)
    assert await rows(application, book) == before
    real = await asked.ask(key=None)
    assert (rehearsed.status_code, real.status_code) == (200, 201)
    assert (answer(rehearsed)["posted"], answer(rehearsed)["rejected"]) == (3, 0)
    for told, made in zip(answer(rehearsed)["results"], answer(real)["results"], strict=True):
        kind = "hold" if "hold" in made else "transfer"
        assert _lasting(told[kind]) == _lasting(made[kind])
        assert (told["replayed"], made["replayed"]) == (False, False)


@pytest.mark.parametrize(("mode", "status"), [("independent", 207), ("atomic", 422)])
async def test_a_batch_of_which_some_would_be_refused(
    application: Application, book: Book, payer: JSON, payee: JSON, mode: str, status: int
) -> None:
    items = [item(payer, payee, amount=60), item(payer, payee, amount=50)]
    asked = Question(book, "/transfers/batch", {"transfers": items, "mode": mode})
    before = await rows(application, book)
    rehearsed = await asked.rehearse(key=None)
    assert await rows(application, book) == before
    assert rehearsed.status_code == status
    codes: list[Any] = [result.get("problem", {}).get("code") for result in answer(rehearsed)["results"]]
    assert codes == ["batch_rejected" if mode == "atomic" else None, "insufficient_funds"]
    await book.move(await book.account(), payer, 10)
    assert (await asked.ask(key=None)).status_code == 201


async def test_only_what_moves_money_is_rehearsed(book: Book) -> None:
    for path, body in (("/accounts", {"currency": "USD"}), ("/idempotency-keys/k/fence", None)):
        assert pointers(await Question(book, path, body).rehearse()) == ["/query/dry_run"]


async def test_a_void_that_is_rehearsed_leaves_the_hold_open(book: Book, payer: JSON, payee: JSON) -> None:
    hold = await open_hold(book, payer, payee, 30)
    told = answer(await Question(book, f"/holds/{hold['id']}/void").rehearse())
    assert told["status"] == "voided"
    assert (await void(book, hold))["status"] == "voided"
