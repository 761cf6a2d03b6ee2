"""Signing in and out: who gets in, for how long, and what a cookie is worth elsewhere."""

import time

import httpx
import pytest

from service.access.tokens import revoke
from service.api.application import Application as App
from service.console.links import SignInLink
from service.console.sessions import Session, Sessions, cookie_name
from service.storage.database import Database
from service.storage.repositories import Repositories
from tests.console.browsing import ORIGIN, SAME_ORIGIN, Browser, Document
from tests.console.conftest import MakeToken
from tests.support.application import Application, serving
from tests.support.servers import TestDatabase

HOST = "127.0.0.1:8000"
TOKEN = "a token of a test"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    return Sessions(32 * "k", seconds_max=1000, idle_seconds_max=100, clock=clock)


def _cookies(sessions: Sessions, session: Session, host: str = HOST) -> dict[str, str]:
    cookie = sessions.cookie(session, host)
    assert cookie is not None
    return {cookie.key: cookie.value or ""}


def test_a_cookie_brings_its_session_back(sessions: Sessions) -> None:
    session = sessions.begin(TOKEN)
    assert sessions.read(_cookies(sessions, session), HOST) == session


def test_a_cookie_says_nothing_of_its_token(sessions: Sessions) -> None:
    [value] = _cookies(sessions, sessions.begin(TOKEN)).values()
    assert TOKEN not in value
    assert len({value, *_cookies(sessions, sessions.begin(TOKEN)).values()}) == 2


def test_a_session_ends_when_it_is_idle(sessions: Sessions, clock: Clock) -> None:
    cookies = _cookies(sessions, sessions.begin(TOKEN))
    clock.now += 99
    assert sessions.read(cookies, HOST) is not None
    clock.now += 1
    assert sessions.read(cookies, HOST) is None


def test_a_session_that_is_used_goes_on_and_ends_all_the_same(sessions: Sessions, clock: Clock) -> None:
    session = sessions.begin(TOKEN)
    for _ in range(19):
        cookies = _cookies(sessions, session)
        clock.now += 50
        found = sessions.read(cookies, HOST)
        assert found is not None
        assert sessions.is_due(found)
        session = found
    cookies = _cookies(sessions, session)
    clock.now += 50
    assert sessions.read(cookies, HOST) is None


def test_a_session_that_was_signed_out_is_over(sessions: Sessions) -> None:
    session = sessions.begin(TOKEN)
    cookies = _cookies(sessions, session)
    sessions.end(session)
    assert sessions.read(cookies, HOST) is None


@pytest.mark.parametrize("change", ["", "A", "%", "=", "é", "A" * 5000])
def test_a_cookie_that_was_changed_is_none(sessions: Sessions, change: str) -> None:
    [(name, value)] = _cookies(sessions, sessions.begin(TOKEN)).items()
    assert sessions.read({name: value[:-2] + change}, HOST) is None


def test_a_cookie_of_another_key_is_none(sessions: Sessions, clock: Clock) -> None:
    cookies = _cookies(sessions, sessions.begin(TOKEN))
    other = Sessions(32 * "o", seconds_max=1000, idle_seconds_max=100, clock=clock)
    assert other.read(cookies, HOST) is None
    same = Sessions(32 * "k", seconds_max=1000, idle_seconds_max=100, clock=clock)
    assert same.read(cookies, HOST) is not None


def test_a_token_that_is_too_long_for_a_cookie_gets_none(sessions: Sessions) -> None:
    assert sessions.cookie(sessions.begin("t" * 4000), HOST) is None


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1:8000", "funds-console"),
        ("localhost", "funds-console"),
        ("[::1]:8000", "funds-console"),
        ("bank.example", "__Host-funds-console"),
        ("127.0.0.1.bank.example:443", "__Host-funds-console"),
    ],
)
def test_off_the_machine_cookies_are_for_tls_alone(sessions: Sessions, host: str, name: str) -> None:
    cookie = sessions.cookie(sessions.begin(TOKEN), host)
    assert cookie is not None
    assert (cookie.key, cookie.secure) == (name, name.startswith("__Host-"))
    assert (cookie.httponly, cookie.samesite, cookie.path, cookie.domain) == (True, "strict", "/", None)
    assert cookie_name(host) == name


async def test_signing_in_leads_to_the_page_that_was_asked_for(anonymous: Browser, application: Application) -> None:
    asked = await anonymous.client.get("/console?cursor=a%2Bb")
    assert asked.status_code == 303
    form = Document((await anonymous.client.get(asked.headers["location"])).text).form("/console/sign-in")
    answer = await anonymous.send(form, token=application.settings.admin_token or "")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console?cursor=a%2Bb")
    await anonymous.get("/console")


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example", "/console/x\ny", "/v1/ledgers", "/consolex", "\\\\x"]
)
async def test_signing_in_leads_nowhere_else(anonymous: Browser, application: Application, to: str) -> None:
    answer = await anonymous.sign_in(application.settings.admin_token or "", to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


@pytest.mark.parametrize("token", ["", "wrong", "fts_" + "x" * 43, "a b", "x" * 600, "é"])
async def test_a_wrong_token_gets_no_session(anonymous: Browser, token: str) -> None:
    answer = await anonymous.sign_in(token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert not token or token not in answer.text


async def test_a_token_is_told_on_no_page(browser: Browser, application: Application) -> None:
    assert (application.settings.admin_token or "") not in (await browser.get("/console")).text


async def test_a_revoked_token_ends_its_session(
    anonymous: Browser, application: Application, make_token: MakeToken
) -> None:
    await anonymous.sign_in(await make_token("read", client="leaver"))
    await anonymous.get("/console")
    app: App = application.app  # type: ignore[assignment]
    database = Database.connect(application.database.operator_url, application.settings)
    async with database.sessions() as session, session.begin():
        [token] = [one for one in await Repositories(session).tokens.all() if one.client == "leaver"]
        assert await revoke(session, token.id)
    await database.close()
    # As a second passes: what was verified is forgotten.
    app.state.authenticator._verified.clear()
    answer = await anonymous.client.get("/console")
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_signing_out_ends_the_session_and_not_the_cookie_alone(browser: Browser) -> None:
    stolen = dict(browser.client.cookies)
    form = (await browser.open("/console")).form("/console/sign-out")
    assert (await browser.send(form)).status_code == 303
    assert not browser.client.cookies
    browser.client.cookies.update(stolen)
    assert (await browser.client.get("/console")).status_code == 303


async def test_a_page_in_use_renews_its_session_and_what_refreshes_itself_does_not(
    browser: Browser, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = application.app.state.console_sessions
    assert "set-cookie" not in (await browser.get("/console")).headers
    monkeypatch.setattr(sessions, "_clock", lambda: time.time() + 60)
    refreshed = await browser.client.get("/console", headers={"HX-Request": "true"})
    assert (refreshed.status_code, "set-cookie" in refreshed.headers) == (200, False)
    assert "set-cookie" in (await browser.get("/console")).headers


async def test_what_refreshes_itself_leads_to_the_form_when_the_session_is_over(anonymous: Browser) -> None:
    answer = await anonymous.client.get("/console", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/console/sign-in")


async def test_a_session_is_no_token_of_the_api(browser: Browser) -> None:
    assert (await browser.client.get("/v1/ledgers")).status_code == 401
    bearer = {"Authorization": f"Bearer {browser.client.cookies['funds-console']}"}
    assert (await browser.client.get("/v1/ledgers", headers=bearer)).status_code == 401


async def test_a_token_alone_opens_no_page(anonymous: Browser, application: Application) -> None:
    bearer = {"Authorization": f"Bearer {application.settings.admin_token}"}
    assert (await anonymous.client.get("/console", headers=bearer)).status_code == 303


def test_a_link_is_used_once() -> None:
    link, code = SignInLink.make(TOKEN)
    assert not link.is_usable(code + "x")
    assert link.use("") is None
    assert link.is_usable(code)
    assert [link.use(code), link.use(code)] == [TOKEN, None]


def test_a_link_is_used_once_by_all_who_have_a_copy() -> None:
    link, code = SignInLink.make(TOKEN)
    other = SignInLink(link._code_digest, TOKEN, link._until, link._descriptor)
    assert other.use(code) == TOKEN
    assert link.use(code) is None


def test_a_link_ends() -> None:
    link, code = SignInLink.make(TOKEN)
    link._until = 0.0
    assert not link.is_usable(code)
    assert link.use(code) is None


async def test_a_link_signs_in_when_it_is_asked_to_and_not_when_it_is_looked_at(
    anonymous: Browser, application: Application
) -> None:
    link, code = SignInLink.make(application.settings.admin_token or "")
    application.app.state.sign_in_link = link
    try:
        for _ in range(2):
            page = await anonymous.open(f"/console/sign-in/link?code={code}")
        answer = await anonymous.send(page.form("/sign-in/link"))
        assert answer.status_code == 303
        await anonymous.get("/console")
        again = await anonymous.client.post("/console/sign-in/link", data={"code": code}, headers=SAME_ORIGIN)
        assert again.status_code == 401
    finally:
        application.app.state.sign_in_link = None


async def test_the_console_can_be_switched_off(test_database: TestDatabase) -> None:
    async with serving(test_database, console=False) as application:
        transport = httpx.ASGITransport(app=application.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            for path in ("/console", "/console/sign-in"):
                assert (await client.get(path)).status_code == 404


async def test_the_console_is_served_under_a_prefix(test_database: TestDatabase) -> None:
    async with serving(test_database, path_prefix="/bank/funds") as application:
        transport = httpx.ASGITransport(app=application.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            browser = Browser(client)
            form = (await browser.open("/bank/funds/console/sign-in")).form("/bank/funds/console/sign-in")
            answer = await browser.send(form, token=application.settings.admin_token or "")
            page = await browser.open(answer.headers["location"])
            await browser.get("/bank/funds/console/ledgers/main")
            assert all(address.startswith(("/bank/funds/console", "#")) for address in page.addresses)
