"""Who may do what: tokens, scopes, ledgers, and that no route is left open by mistake."""

import re
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from service.access.authenticator import TOKEN_CACHE_SECONDS
from service.access.principal import SCOPES
from service.api.http.queries import required_parameters
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories.tokens import TokenRepository
from tests.api.conftest import MakeClient
from tests.api.routes import protected, routes
from tests.support.application import Application
from tests.support.contract import filled
from tests.support.http_ledger import LedgerClient, item, keyed, problem, unique
from tests.support.servers import random_token

OPEN_TO_EVERYONE = {"/health/live", "/health/ready", "/problems/{code}", "/openapi.json", "/.well-known/funds-log"}
OPEN_BELOW = re.compile("(?:/docs|/console)(?:/.*)?")
"""The API's description; and the console, whose pages ask for a session (``tests/console``)."""
OF_INSTALLATION = {"/v1/events", "/v1/integrity"}
REQUIRED = {"code": "1000"}
"""What query parameters without which an operation cannot be asked are set to, where that is no time."""
ASKED_IN_A_BODY = {"/v1/ledgers/main/balances/query"}


def test_every_route_declares_its_scope(application: Application) -> None:
    for method, path, handler in routes(application):
        assert "scope" in handler.opt, f"{method} {path} declares no scope"
        is_open = path in OPEN_TO_EVERYONE or OPEN_BELOW.fullmatch(path) is not None
        if is_open:
            assert handler.opt["scope"] is None, f"{method} {path} is for everyone"
        else:
            assert handler.opt["scope"] in SCOPES, f"{method} {path} needs a scope that tokens can have"


def test_what_reads_needs_the_scope_to_read_and_what_changes_another(application: Application) -> None:
    """But for the installation's own history, which is the operator's, and all of a ledger's, which is the auditor's;
    and some questions are too long for a query.
    """
    for method, path, scope in protected(application):
        read = "audit" if path == "/v1/ledgers/main/log/entries" else "read"
        if path in OF_INSTALLATION or path.startswith("/v1/log/"):
            read = "admin"
        reads = method == "GET" or path in ASKED_IN_A_BODY
        assert (scope == read) == reads, f"{method} {path} needs {scope}"


WRONG_AUTHORIZATIONS = [
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {'r' * 43}",
    f"Bearer {'x' * 513}",
    f"Bearer {'x' * 10_000}",
    "Bearer ü",
    "Basic YWRtaW46YWRtaW4=",
    "{token}",
    "Token {token}",
    "Basic {token}",
    "Bearer{token}",
    "Bearer  {token}",
    "Bearer {token} ",
    "Bearer {token}x",
    "Bearer {token},Bearer {token}",
    'Bearer "{token}"',
]


async def test_every_route_needs_a_token(application: Application, anonymous: httpx.AsyncClient) -> None:
    for method, path, _ in protected(application):
        refused = await anonymous.request(method, path)
        assert problem(refused, 401, "unauthenticated")["outcome"] == "not_applied"
        assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("authorization", WRONG_AUTHORIZATIONS, ids=lambda text: text[:30])
async def test_a_wrong_token(anonymous: httpx.AsyncClient, application: Application, authorization: str) -> None:
    text = authorization.replace("{token}", application.settings.admin_token or "")
    refused = await anonymous.get("/v1/ledgers", headers={b"Authorization": text.encode()})
    problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_in_any_case(anonymous: httpx.AsyncClient, application: Application, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {application.settings.admin_token}"}
    assert (await anonymous.get("/v1/ledgers", headers=headers)).status_code == 200


async def test_two_tokens_are_none(anonymous: httpx.AsyncClient, application: Application) -> None:
    right = ("Authorization", f"Bearer {application.settings.admin_token}")
    wrong = ("Authorization", f"Bearer {random_token()}")
    assert (await anonymous.get("/v1/ledgers", headers=[right, wrong])).status_code in {400, 401}
    assert (await anonymous.get("/v1/ledgers", headers=[wrong, right])).status_code in {400, 401}


async def test_a_token_is_told_from_none_before_the_body_is_read(anonymous: httpx.AsyncClient) -> None:
    refused = await anonymous.post("/v1/ledgers/main/transfers", content=b"{", headers=keyed())
    problem(refused, 401, "unauthenticated")


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_token_may_do_what_its_scope_says(
    application: Application, make_client: MakeClient, scope: str
) -> None:
    client = await make_client(scope)
    for method, path, needed in protected(application):
        response = await client.request(method, path, headers=keyed() | {"If-Match": "*"}, content=b"{")
        if scope in {needed, "admin"} or (scope, needed) == ("audit", "read"):
            assert response.status_code not in {401, 403}, f"{method} {path}: {response.text}"
        else:
            assert problem(response, 403, "forbidden")["required_scope"] == needed


async def test_a_token_without_scopes_may_do_nothing(application: Application, make_client: MakeClient) -> None:
    client = await make_client()
    for method, path, _ in protected(application):
        problem(await client.request(method, path), 403, "forbidden")


async def test_options_needs_a_token_of_any_scope(
    application: Application, anonymous: httpx.AsyncClient, make_client: MakeClient
) -> None:
    client = await make_client()
    for path in {path for _, path, _ in protected(application)}:
        problem(await anonymous.options(path), 401, "unauthenticated")
        assert (await client.options(path)).status_code == 204


async def test_another_ledger_is_not_told_from_none(
    application: Application, ledger: LedgerClient, make_client: MakeClient
) -> None:
    limited = await make_client("admin", ledgers=["main"])
    account, other = await ledger.account(), await ledger.account()
    await ledger.move(account, other)
    absent = unique("ledger")
    for method, template, handler in routes(application):
        path = filled(template)
        if handler.opt["scope"] is None or "/main" not in path:
            continue
        sent = {
            "headers": keyed() | {"If-Match": "*"},
            "content": b"" if method == "GET" else b"{}",
            "params": {name: REQUIRED.get(name, "2026-01-01T00:00:00Z") for name in required_parameters(handler)},
        }
        hidden = await limited.request(method, path.replace("/main", f"/{ledger.name}", 1), **sent)  # type: ignore[arg-type]
        nothing = await limited.request(method, path.replace("/main", f"/{absent}", 1), **sent)  # type: ignore[arg-type]
        assert hidden.status_code == nothing.status_code >= 400
        assert hidden.text.replace(ledger.name, absent) == nothing.text
        if method == "GET":
            problem(hidden, 404, "ledger_not_found")


async def test_a_token_of_another_ledger_moves_nothing(ledger: LedgerClient, make_client: MakeClient) -> None:
    account, other = await ledger.account(), await ledger.account()
    limited = ledger.seen_by(await make_client("admin", ledgers=[unique("ledger")]))
    problem(await limited.post(account, other), 404, "ledger_not_found")
    problem(await limited.revise(account, name="n"), 404, "ledger_not_found")
    problem(await limited.batch(item(account, other)), 404, "ledger_not_found")
    assert await ledger.read_account(account) == account


async def test_a_token_of_this_ledger_among_others(ledger: LedgerClient, make_client: MakeClient) -> None:
    limited = ledger.seen_by(await make_client("admin", ledgers=["main", ledger.name]))
    await limited.move(await limited.account(), await limited.account())


async def test_an_expired_token(make_client: MakeClient) -> None:
    expired = await make_client("admin", expires_in=timedelta(seconds=-1))
    problem(await expired.get("/v1/ledgers"), 401, "unauthenticated")
    lasting = await make_client("admin", expires_in=timedelta(hours=1))
    assert (await lasting.get("/v1/ledgers")).status_code == 200


async def _revoke(application: Application, client: str) -> None:
    database = Database.connect(application.database.owner_url, Settings())
    async with database.sessions() as session, session.begin():
        [token] = [one for one in await TokenRepository(session).all() if one.client == client]
        assert await TokenRepository(session).revoke(token.id, datetime.now(UTC))
    await database.close()


async def test_a_revoked_token(application: Application, make_client: MakeClient) -> None:
    name = unique("client")
    client = await make_client("read", name=name)
    await _revoke(application, name)
    problem(await client.get("/v1/ledgers"), 401, "unauthenticated")


async def test_a_token_that_is_revoked_while_in_use_ends_within_its_time(
    application: Application, make_client: MakeClient
) -> None:
    name = unique("client")
    client = await make_client("read", name=name)
    assert (await client.get("/v1/ledgers")).status_code == 200
    await _revoke(application, name)
    revoked = asked = time.monotonic()
    while (response := await client.get("/v1/ledgers")).status_code == 200:
        assert asked < revoked + TOKEN_CACHE_SECONDS, "the token is still accepted"
        asked = time.monotonic()
    problem(response, 401, "unauthenticated")


OPEN_PATHS = ["/health/live", "/health/ready", "/problems/not_found", "/docs", "/openapi.json"]


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_what_is_open_needs_no_token(anonymous: httpx.AsyncClient, path: str) -> None:
    assert (await anonymous.get(path)).status_code == 200
    assert (await anonymous.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 200


async def test_no_answer_to_a_caller_without_a_token_names_host_user_or_version(
    application: Application, anonymous: httpx.AsyncClient
) -> None:
    paths = ["/", "/v1/ledgers", "/health/live", "/health/ready", "/problems/x", "/problems/internal_error"]
    secrets = ["postgres", "funds_service", "localhost", "127.0.0.1", "/tmp", "python", "litestar", "granian"]
    secrets.append(application.settings.admin_token or "")
    for path in paths:
        response = await anonymous.get(path)
        shown = (response.text + str(response.headers)).lower()
        assert not [secret for secret in secrets if secret.lower() in shown], shown
