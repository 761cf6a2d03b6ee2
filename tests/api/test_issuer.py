"""Tokens of an issuer, over HTTP: its clients do what their tokens say, and are nobody else."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest

from service.access import key_sets
from service.access.issuers import TOKEN_LENGTH_MAX
from service.access.principal import SCOPES
from service.access.tokens import issue
from service.settings import Settings
from service.storage.database import Database
from tests.api.routes import protected
from tests.support.application import Application, serving
from tests.support.http_ledger import LedgerClient, keyed, problem, unique
from tests.support.issuer import AUDIENCE, ISSUER, KeySetServer, SigningKey, key_set, token
from tests.support.servers import ROOT, TestDatabase, TestPostgres

KEY, RSA, NEW = SigningKey("first"), SigningKey("rsa", "RS256"), SigningKey("new")


class Issuing(NamedTuple):
    """An application that knows an issuer, whose keys are published by ``server``."""

    application: Application
    server: KeySetServer

    def client(self, text: str) -> httpx.AsyncClient:
        return self.application.client(text)


@asynccontextmanager
async def issuing(database: TestDatabase, body: bytes, **settings: str) -> AsyncIterator[Issuing]:
    async with KeySetServer(body).listening() as server:
        told = {"oidc_issuer": ISSUER, "oidc_audiences": AUDIENCE, "oidc_keys_endpoint": server.url}
        async with serving(database, **told, **settings, oidc_leeway_seconds=0) as application:
            yield Issuing(application, server)


@pytest.fixture(scope="module")
async def issuer(postgres: TestPostgres) -> AsyncIterator[Issuing]:
    async with postgres.fresh_database() as database, issuing(database, key_set([KEY, RSA])) as both:
        yield both


@pytest.fixture(scope="module")
async def admin(issuer: Issuing) -> AsyncIterator[httpx.AsyncClient]:
    async with issuer.client(issuer.application.settings.admin_token or "") as client:
        yield client


@pytest.fixture
async def ledger(admin: httpx.AsyncClient) -> LedgerClient:
    return await LedgerClient.open(admin, unique("ledger"))


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_token_may_do_what_its_scope_says(issuer: Issuing, scope: str) -> None:
    async with issuer.client(token(RSA, scope=f"openid {scope}", ledgers="*")) as client:
        for method, path, needed in protected(issuer.application):
            response = await client.request(method, path, headers=keyed() | {"If-Match": "*"}, content=b"{")
            if scope in {needed, "admin"} or (scope, needed) == ("audit", "read"):
                assert response.status_code not in {401, 403}, f"{method} {path}: {response.text}"
            else:
                assert problem(response, 403, "forbidden")["required_scope"] == needed


async def test_a_token_without_scopes_may_do_nothing(issuer: Issuing) -> None:
    async with issuer.client(token(KEY, scope="openid profile")) as client:
        for method, path, _ in protected(issuer.application):
            problem(await client.request(method, path), 403, "forbidden")


async def test_a_wrong_token_on_every_route(issuer: Issuing, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with issuer.client(token(SigningKey("first"), scope="admin", ledgers="*")) as client:
        for method, path, _ in protected(issuer.application):
            refused = await client.request(method, path)
            assert "signature" not in refused.text
            assert problem(refused, 401, "unauthenticated")["outcome"] == "not_applied"
    assert "an issuer's token has a wrong signature" in {getattr(one, "reason", "") for one in caplog.records}


async def test_a_token_sees_the_ledgers_that_it_names(issuer: Issuing, ledger: LedgerClient) -> None:
    path = f"/v1/ledgers/{ledger.name}/accounts"
    for ledgers, status in ((None, 404), (["other"], 404), ([ledger.name], 200), ("*", 200)):
        async with issuer.client(token(KEY, ledgers=ledgers)) as client:
            assert (await client.get(path)).status_code == status
    async with issuer.client(token(KEY, scope="admin")) as client:
        problem(await client.get("/v1/events"), 403, "forbidden")  # of no ledger is not of all


async def test_a_token_debits_the_accounts_that_it_names(test_database: TestDatabase) -> None:
    claims = {"oidc_debit_accounts_claim": "debits", "oidc_debit_codes_claim": "codes"}
    async with (
        issuing(test_database, key_set([KEY]), **claims) as issuer,
        issuer.client(issuer.application.settings.admin_token or "") as admin,
    ):
        ledger = await LedgerClient.open(admin, unique("ledger"))
        cash, other = await ledger.account(code="1000:cash"), await ledger.account()
        for said, may in (
            ({}, False),
            ({"debits": other["id"]}, False),
            ({"codes": "100"}, False),
            ({"debits": cash["id"]}, True),
            ({"codes": ["1000"]}, True),
            ({"codes": "*"}, True),
        ):
            async with issuer.client(token(KEY, scope="transfers:write", ledgers="*", **said)) as client:
                moved = await ledger.seen_by(client).post(cash, other)
                if may:
                    assert moved.status_code == 201, moved.text
                else:
                    problem(moved, 403, "debit_not_allowed")


async def test_a_client_of_the_issuer_is_no_client_of_ours(issuer: Issuing, ledger: LedgerClient) -> None:
    """Whoever has the same name has idempotency keys of its own."""
    debit, credit = await ledger.account(), await ledger.account()
    database = Database.connect(issuer.application.database.operator_url, Settings())
    async with database.sessions() as session, session.begin():
        ours = await issue(session, client="alice", scopes=["transfers:write"])
        taken = await issue(session, client="oidc:alice", scopes=["transfers:write"])
    await database.close()
    key, made = unique("key"), set()
    right: dict[str, Any] = {"scope": "transfers:write", "ledgers": "*"}
    for text in (
        ours.token,
        token(KEY, **right),
        token(KEY, sub="admin", **right),
        issuer.application.settings.admin_token,
    ):
        async with issuer.client(text or "") as client:
            moved = await ledger.seen_by(client).post(debit, credit, key)
            assert moved.status_code == 201
            made.add(moved.json()["id"])
    assert len(made) == 4
    async with issuer.client(token(KEY, jti="another", **right)) as client:
        again = await ledger.seen_by(client).post(debit, credit, key)
        assert again.json()["id"] in made  # another token of the same client
    async with issuer.client(taken.token) as client:
        problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_a_token_ends_when_it_says_also_while_it_is_in_use(issuer: Issuing) -> None:
    end = int(time.time()) + 2
    async with issuer.client(token(KEY, exp=end)) as client:
        asked = time.time()
        while (response := await client.get("/v1/ledgers")).status_code == 200:
            assert asked < end, "the token is still accepted"
            asked = time.time()
        problem(response, 401, "unauthenticated")
        assert time.time() >= end


async def test_the_longest_token(issuer: Issuing) -> None:
    text = token(KEY, more="")
    longest = token(KEY, more="x" * ((TOKEN_LENGTH_MAX - len(text)) * 3 // 4 - 2))
    async with issuer.client(longest) as client:
        assert (await client.get("/v1/ledgers")).status_code == 200
    async with issuer.client(token(KEY, more="x" * TOKEN_LENGTH_MAX)) as client:
        problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_our_own_tokens_go_on(issuer: Issuing, admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/v1/ledgers")).status_code == 200
    for wrong in ("fts_wrong", "a.b", "a.b.c", ".", "..", "a.b.c.d.e"):
        async with issuer.client(wrong) as client:
            problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_an_admin_token_may_look_like_an_issuers(test_database: TestDatabase) -> None:
    own = "Zk3v.9Qd1xT7mW2.hR8sLq0uYb5nEj4cGpAf6oVi"
    told = {"oidc_issuer": ISSUER, "oidc_audiences": AUDIENCE, "oidc_keys_endpoint": "http://127.0.0.1:9/keys"}
    async with serving(test_database, **told, admin_token=own) as application, application.client(own) as client:
        assert (await client.get("/v1/ledgers")).status_code == 200


async def test_without_an_issuer_its_tokens_are_none(application: Application) -> None:
    async with application.client(token(KEY)) as client:
        problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_keys_are_exchanged_and_missed(
    test_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the start without keys to an exchange of them, and an issuer that is away."""
    monkeypatch.setattr(key_sets, "REREAD_SECONDS_MIN", 0.2)
    async with issuing(test_database, b"no keys") as both, both.client(token(KEY)) as client:
        refused = await client.get("/v1/ledgers")
        assert "keys of the issuer" in problem(refused, 503, "not_ready")["detail"]
        assert refused.headers["Retry-After"] == "1"
        assert await _issuer_of(client) == ("degraded", False, "has no keys that can be used")
        both.server.body = key_set([KEY])
        await _until(client, 200)
        async with both.client(token(NEW)) as later:
            problem(await later.get("/v1/ledgers"), 401, "unauthenticated")
            both.server.body = key_set([NEW])
            await _until(later, 200)
            await _until(client, 401)  # the key was taken back
            both.server.status = 500
            asked = both.server.asked
            async with both.client(token(KEY)) as unknown:
                while both.server.asked < asked + 2:
                    problem(await unknown.get("/v1/ledgers"), 401, "unauthenticated")
            assert (await later.get("/v1/ledgers")).status_code == 200
            assert await _issuer_of(client) == ("ready", True, None)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    why = [line["reason"] for line in told if line["message"] == "the keys of the issuer cannot be read"]
    assert why == ["it is no JSON object with a list of keys", "the issuer answered with status 500"]


async def _until(client: httpx.AsyncClient, status: int) -> None:
    deadline = time.monotonic() + 30
    while (found := await client.get("/v1/ledgers")).status_code != status:
        assert time.monotonic() < deadline, found.text


async def _issuer_of(client: httpx.AsyncClient) -> tuple[str, bool, str | None]:
    """What readiness says: of all, and of the issuer."""
    told = (await client.get("/health/ready")).json()
    check = told["checks"]["issuer"]
    return told["status"], check["ready"], check.get("reason")


def test_what_verifies_tokens_is_loaded_where_there_is_an_issuer_alone() -> None:
    script = """
import sys
from service.app.application import create_app
from service.app.parts import make_services
from service.settings import Settings
from service.telemetry.requests import RequestTelemetry
more = dict(zip(("oidc_issuer", "oidc_audiences", "oidc_keys_file"), sys.argv[1:]))
settings = Settings(database_url="postgresql://nobody@localhost/nothing", **more)
create_app(settings)
make_services(settings, RequestTelemetry(None, None))
print("joserfc" in sys.modules)
"""
    for given, loaded in (([], "False"), ([ISSUER, AUDIENCE, "keys.json"], "True")):
        command = [sys.executable, "-c", script, *given]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == loaded, done.stderr
