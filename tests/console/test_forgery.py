"""Forms that no page of the session sent are refused, whoever the browser says to be."""

import pytest

from tests.console.browsing import ORIGIN, SAME_ORIGIN, Browser, Document
from tests.support.application import Application
from tests.support.contract import filled


def _forms(application: Application) -> list[str]:
    """The address of every form: what is added later is tried, too."""
    return sorted(
        {
            filled(route.path_format)
            for route in application.app.routes
            if route.path_format.startswith("/console") and "POST" in route.methods
        }
    )


FOREIGN = [
    {},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:8001"},
    {"Origin": "https://elsewhere.example"},
    {"Origin": ""},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_form_is_taken_from_elsewhere(
    browser: Browser, application: Application, headers: dict[str, str]
) -> None:
    proof = (await browser.open("/console")).form("/sign-out")["session"]
    for path in _forms(application):
        answer = await browser.client.post(path, data={"session": proof}, headers=headers)
        assert answer.status_code == 403, path
    await browser.get("/console")


async def test_an_origin_is_enough_for_a_browser_that_tells_no_more(browser: Browser) -> None:
    form = (await browser.open("/console")).form("/sign-out")
    answer = await browser.client.post(form.pop(""), data=form, headers={"Origin": ORIGIN})
    assert answer.status_code == 303


@pytest.mark.parametrize("proof", [None, "", "x", "of another session"])
async def test_no_form_is_taken_without_the_proof_of_its_session(
    browser: Browser, application: Application, proof: str | None
) -> None:
    if proof == "of another session":
        other = Browser(browser.client)
        proof = (await other.open("/console")).form("/sign-out")["session"]
        await other.sign_in(application.settings.admin_token or "")
    for path in _forms(application):
        if "/sign-in" in path:
            continue  # nobody has a session there
        fields = {"reason": "x"} | ({} if proof is None else {"session": proof})
        answer = await browser.client.post(path, data=fields, headers=SAME_ORIGIN)
        assert answer.status_code == 403, path
        assert "not of your session" in Document(answer.text).text


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
async def test_a_form_has_the_media_type_of_forms(browser: Browser, media_type: str) -> None:
    proof = (await browser.open("/console")).form("/sign-out")["session"]
    answer = await browser.client.post(
        "/console/sign-out", content=f"session={proof}", headers=SAME_ORIGIN | {"Content-Type": media_type}
    )
    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"\xff", b"a", b"a=%ff", b"session=x&session=y", b"&".join([b"a=b"] * 200)])
async def test_a_body_that_is_no_form_is_told_so(browser: Browser, body: bytes) -> None:
    headers = SAME_ORIGIN | {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await browser.client.post("/console/sign-out", content=body, headers=headers)
    assert answer.status_code == 400


async def test_a_form_is_bounded(browser: Browser, application: Application) -> None:
    fields = {"token": "x" * (application.settings.request_bytes_max + 1)}
    answer = await browser.client.post("/console/sign-in", data=fields, headers=SAME_ORIGIN)
    assert answer.status_code == 413


async def test_nothing_changes_by_reading(browser: Browser, application: Application) -> None:
    for path in _forms(application):
        answer = await browser.client.get(path)
        assert answer.status_code in {200, 303, 400, 401, 403, 404, 405}, path
    await browser.get("/console")
