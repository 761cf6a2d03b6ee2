"""Callers that are known by a certificate: through a trusted proxy they are the client that the operator named."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from service.access.tokens import issue
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories.tokens import TokenRepository
from tests.api.conftest import MakeClient
from tests.api.routes import protected
from tests.support.application import Application, serving
from tests.support.certificates import certificate, passed_on
from tests.support.http_ledger import keyed, problem
from tests.support.servers import TestPostgres

DER = certificate("payroll").public_bytes(Encoding.DER)
OTHER = certificate("payroll").public_bytes(Encoding.DER)
PROXY, ELSEWHERE = "10.0.0.7", "10.0.0.8"
HEADERS = {"Client-Cert": passed_on(DER)}


@pytest.fixture(scope="module")
async def proxied(postgres: TestPostgres) -> AsyncIterator[Application]:
    """An application that believes one proxy, and a certificate that may read ledger main."""
    async with postgres.fresh_database() as database:
        operator = Database.connect(database.operator_url, Settings())
        async with operator.sessions() as session, session.begin():
            made = await issue(session, client="payroll", scopes=["read"], ledgers=["main"], certificate=DER)
            assert made.token == ""
        await operator.close()
        async with serving(database, client_certificate_proxies=PROXY) as application:
            yield application


@pytest.fixture
async def proxy(proxied: Application) -> AsyncIterator[httpx.AsyncClient]:
    async with proxied.client(None, address=PROXY) as client:
        yield client


async def test_a_certificate_may_do_what_was_said_of_it(proxied: Application, proxy: httpx.AsyncClient) -> None:
    for method, path, needed in protected(proxied):
        response = await proxy.request(method, path, headers=keyed() | {"If-Match": "*"} | HEADERS, content=b"{")
        if needed == "read":
            assert response.status_code not in {401, 403}, f"{method} {path}: {response.text}"
        else:
            assert problem(response, 403, "forbidden")["required_scope"] == needed
        problem(await proxy.request(method, path), 401, "unauthenticated")
    [seen] = (await proxy.get("/v1/ledgers", headers=HEADERS)).json()["items"]
    assert seen["name"] == "main"


async def test_from_anybody_else_it_is_refused_on_every_route(
    proxied: Application, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with proxied.client(proxied.settings.admin_token, address=ELSEWHERE) as client:
        for method, path, _ in protected(proxied):
            problem(await client.request(method, path, headers=HEADERS), 401, "unauthenticated")
        assert (await client.get("/v1/ledgers")).status_code == 200
    assert "a client certificate came from who is no trusted proxy" in {
        getattr(r, "reason", "") for r in caplog.records
    }


async def test_certificates_that_nobody_was_given(proxy: httpx.AsyncClient) -> None:
    for value in (passed_on(OTHER), passed_on(DER[:-1]), passed_on(DER + b"\0"), ":", "CN=payroll"):
        problem(await proxy.get("/v1/ledgers", headers={"Client-Cert": value}), 401, "unauthenticated")
    twice = [("Client-Cert", passed_on(DER)), ("Client-Cert", passed_on(DER))]
    problem(await proxy.get("/v1/ledgers", headers=twice), 401, "unauthenticated")


async def test_a_token_decides_where_there_is_one(proxied: Application) -> None:
    async with proxied.client(proxied.settings.admin_token, address=PROXY) as client:
        assert (await client.get("/v1/events", headers=HEADERS)).status_code == 200
    async with proxied.client("fts_wrong", address=PROXY) as client:
        problem(await client.get("/v1/ledgers", headers=HEADERS), 401, "unauthenticated")


async def test_without_the_setting_a_certificate_says_nothing(
    application: Application, make_client: MakeClient
) -> None:
    async with application.client(None, address=PROXY) as client:
        problem(await client.get("/v1/ledgers", headers=HEADERS), 401, "unauthenticated")
    token = await make_client("read")
    assert (await token.get("/v1/ledgers", headers=HEADERS)).status_code == 200


async def test_a_certificate_that_is_revoked(proxied: Application, proxy: httpx.AsyncClient) -> None:
    operator = Database.connect(proxied.database.operator_url, Settings())
    async with operator.sessions() as session, session.begin():
        await issue(session, client="billing", scopes=["read"], certificate=OTHER)
        [token] = [one for one in await TokenRepository(session).all() if one.client == "billing"]
        assert await TokenRepository(session).revoke(token.id, datetime.now(UTC))
    await operator.close()
    problem(await proxy.get("/v1/ledgers", headers={"Client-Cert": passed_on(OTHER)}), 401, "unauthenticated")
