"""Whether a ledger is sound, as its callers are told."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import httpx
import pytest

from service.app import make_services
from service.settings import Settings
from service.storage.transactions import Mode, Transactions
from service.telemetry.requests import RequestTelemetry
from service.workers.verifier import LedgerVerifier
from tests.api.conftest import MakeClient
from tests.support.application import Application, serving
from tests.support.http_ledger import JSON, LedgerClient, answer, problem, unique
from tests.support.servers import TestPostgres


@pytest.fixture(scope="module")
async def application(postgres: TestPostgres) -> AsyncIterator[Application]:
    """An application for these tests alone, which verify every ledger of its database again and again."""
    async with postgres.fresh_database() as database, serving(database) as application:
        yield application


@pytest.fixture(scope="module")
async def client(application: Application) -> AsyncIterator[httpx.AsyncClient]:
    async with application.client(application.settings.admin_token) as client:
        yield client


@pytest.fixture
async def owner(application: Application) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(application.database.owner_url)
    yield connection
    await connection.close()


async def verify_all(application: Application) -> None:
    """Verify every ledger of the database, as the verifier does."""
    settings = Settings(database_url=application.database.service_url)
    services = make_services(settings, RequestTelemetry(None))
    verifier = LedgerVerifier(
        Transactions(services.pools.verification, settings.read_limits, Mode.SNAPSHOT),
        services.transactions,
        services.damaged,
        settings,
    )
    try:
        while await verifier.verify_next():
            pass
    finally:
        await services.pools.close()


async def integrity(ledger: LedgerClient) -> JSON:
    return answer(await ledger.client.get(f"{ledger.path}/integrity"))


async def test_a_new_ledger_was_never_verified(ledger: LedgerClient, payer: JSON, payee: JSON) -> None:
    await ledger.move(payer, payee, 7)
    told = await integrity(ledger)
    assert (told["ledger"], told["sound"], told["complete"], told["running"]) == (ledger.name, None, None, None)
    assert told["findings"] == []
    assert told["looked_at_now"] == 2 + 4, "transfers; entries of the ledger and its accounts"
    assert told["money_conserved"] is True


async def test_a_verified_ledger_is_sound(
    application: Application, ledger: LedgerClient, payer: JSON, payee: JSON
) -> None:
    await ledger.move(payer, payee, 7)
    await verify_all(application)
    told = await integrity(ledger)
    assert told["sound"] is True
    assert told["complete"]["started_at"] <= told["complete"]["ended_at"] <= told["as_of"]
    assert told["complete"]["row_count"] == 3 + 2 + 4 + 5, "accounts, transfers, entries, decisions"
    assert told["complete"]["finding_count"] == 0
    assert told["complete"]["unasked_rules"] == []


async def test_what_the_verifier_found_is_told_until_it_finds_it_mended(
    application: Application, ledger: LedgerClient, payer: JSON, owner: asyncpg.Connection
) -> None:
    edit = "UPDATE funds.accounts SET credits_posted = credits_posted + $1 WHERE id = $2::text::uuid"
    await owner.execute(edit, 5, payer["id"])
    at_once = await integrity(ledger)
    assert (at_once["sound"], at_once["money_conserved"]) == (False, False)
    await verify_all(application)
    await owner.execute(edit, -5, payer["id"])
    told = await integrity(ledger)
    assert (told["sound"], told["money_conserved"], told["complete"]["finding_count"]) == (False, True, 2)
    assert {one["table"] for one in told["findings"]} == {"accounts"}
    assert {one["id"] for one in told["findings"]} == {payer["id"], "USD"}
    assert any(one["wrong"].startswith("its counters are 0 debited, 105 credited") for one in told["findings"])
    await verify_all(application)
    assert (await integrity(ledger))["sound"] is True


async def test_the_newest_rows_are_looked_at_now(
    ledger: LedgerClient, payer: JSON, payee: JSON, owner: asyncpg.Connection
) -> None:
    moved = await ledger.move(payer, payee, 7)
    await owner.execute("UPDATE funds.transfers SET created_at = now() WHERE id = $1::text::uuid", moved["id"])
    told = await integrity(ledger)
    assert told["sound"] is False
    assert {(one["table"], one["id"]) for one in told["findings"]} == {("transfers", moved["id"])}
    assert "the identifier of a transfer tells when it was made" in {one["rule"] for one in told["findings"]}


async def test_a_ledger_that_is_not_there(ledger: LedgerClient) -> None:
    problem(await ledger.client.get(f"/v1/ledgers/{unique('absent')}/integrity"), 404, "ledger_not_found")


async def test_it_is_for_who_may_read(ledger: LedgerClient, make_client: MakeClient) -> None:
    reader, writer = await make_client("read"), await make_client("transfers:write")
    assert (await reader.get(f"{ledger.path}/integrity")).status_code == 200
    problem(await writer.get(f"{ledger.path}/integrity"), 403, "forbidden")
    elsewhere: httpx.AsyncClient = await make_client("read", ledgers=["other"])
    problem(await elsewhere.get(f"{ledger.path}/integrity"), 404, "ledger_not_found")


async def test_the_installation_is_verified_too(application: Application, owner: asyncpg.Connection) -> None:
    forge = "INSERT INTO funds.tokens (id, client, token_hash, scopes) VALUES ($1, 'x', sha256($2), '{admin}')"
    forged = uuid4()
    await owner.execute(forge, forged, forged.bytes)
    try:
        await verify_all(application)
        async with application.client(application.settings.admin_token) as client:
            told = answer(await client.get("/v1/integrity"))
    finally:
        await owner.execute("DELETE FROM funds.tokens WHERE id = $1", forged)
    assert (told["ledger"], told["sound"]) == (None, False)
    assert [(one["table"], one["id"]) for one in told["findings"]] == [("tokens", str(forged))]
    await verify_all(application)
    async with application.client(application.settings.admin_token) as client:
        told = answer(await client.get("/v1/integrity"))
    assert (told["sound"], told["findings"], told["money_conserved"]) == (True, [], True)
    assert told["complete"]["row_count"] > 0
