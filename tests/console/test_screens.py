"""Every screen, on a ledger with facts of every kind and texts that attack: rights, headers, structure."""

import re
from typing import Any

import httpx
import pytest

from service.console import receipts
from service.proofs.errors import NotProvenError
from service.proofs.keys import parse_verifier_key
from service.proofs.verify import Trust, verify_receipt
from tests.console.browsing import Browser, Document, browsing
from tests.console.conftest import MakeToken
from tests.support.application import Application
from tests.support.http_ledger import JSON, LedgerClient, keyed, unique
from tests.support.log import sealed

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}</textarea>"
_ATTACK_IN_REFERENCE = "x\"'><script>alert(3)</script>{{7*7}}"
_VOID_PAGES = {"/console/sign-in/link"}
_QUERIES = {"/change": "?to=freeze"}
"""What pages are asked with that cannot be asked without."""
_LABELLED = {"input", "select", "textarea"}


class Scene:
    """A ledger with a transfer, its reversal, a hold that was captured in part, and a declined transfer."""

    def __init__(self, ledger: LedgerClient) -> None:
        self.ledger = ledger
        self.account: JSON = {}
        self.transfer: JSON = {}
        self.hold: JSON = {}

    async def fill(self) -> None:
        texts: dict[str, Any] = {"description": ATTACK, "metadata": {"note": ATTACK}}
        payer = await self.ledger.account(name=ATTACK, reference=_ATTACK_IN_REFERENCE, metadata={"a": ATTACK})
        self.account = await self.ledger.account(name="Payee", minimum_balance=0, code="2000:x")
        self.transfer = await self.ledger.move(payer, self.account, 1050, reference=_ATTACK_IN_REFERENCE, **texts)
        await self._post(f"transfers/{self.transfer['id']}/reversals", {"amount": 50, **texts})
        accounts = {"debit_account_id": self.account["id"], "credit_account_id": payer["id"]}
        self.hold = await self._post("holds", accounts | {"amount": 300, "currency": "USD", **texts})
        await self._post(f"holds/{self.hold['id']}/captures", {"amount": 100, "final": False})
        declined = await self.ledger.post(self.account, payer, amount=99_999, **texts)
        assert declined.status_code == 422

    async def _post(self, path: str, body: JSON) -> JSON:
        answer = await self.ledger.client.post(f"{self.ledger.path}/{path}", json=body, headers=keyed())
        assert answer.status_code == 201, answer.text
        content: JSON = answer.json()
        return content

    def path(self, template: str) -> str:
        """The address of a screen of this ledger."""
        known = {
            "ledger_name:str": self.ledger.name,
            "ledger_name": self.ledger.name,
            "account_id": self.account["id"],
            "transfer_id": self.transfer["id"],
            "hold_id": self.hold["id"],
        }
        query = next((query for end, query in _QUERIES.items() if template.endswith(end)), "")
        return re.sub(r"{([^}]+)}", lambda found: known[found[1]], template) + query


@pytest.fixture(scope="module")
async def scene(client: httpx.AsyncClient) -> Scene:
    scene = Scene(await LedgerClient.open(client, unique("ledger")))
    await scene.fill()
    return scene


def pages(application: Application) -> list[str]:
    """The template of every page: what is added later is tried, too. Files have tests of their own."""
    return sorted(
        route.path_format
        for route in application.app.routes
        if route.path_format.startswith("/console")
        and "GET" in route.methods
        and not route.path_format.endswith(("{name}", "/receipt", "/statement", "/export"))
    )


@pytest.fixture(scope="module")
async def visited(application: Application, scene: Scene) -> dict[str, httpx.Response]:
    """Every page by its address, as the administrator sees it."""
    async with browsing(application) as browser:
        await browser.sign_in(application.settings.admin_token or "")
        return {path: await browser.client.get(path) for path in map(scene.path, pages(application))}


async def test_every_page_is_there(visited: dict[str, httpx.Response]) -> None:
    for path, answer in visited.items():
        assert answer.status_code == (401 if path in _VOID_PAGES else 200), (path, answer.text)


async def test_every_page_is_for_those_who_are_signed_in(
    anonymous: Browser, application: Application, scene: Scene
) -> None:
    for template in pages(application):
        answer = await anonymous.client.get(scene.path(template))
        if not template.startswith("/console/sign-in"):
            assert answer.status_code == 303, template
            assert "/console/sign-in" in answer.headers["location"]


async def test_a_token_without_a_right_is_told_so_and_shown_nothing(
    anonymous: Browser, application: Application, scene: Scene, make_token: MakeToken
) -> None:
    for token in (await make_token("transfers:write"), await make_token("admin", ledgers=["another"])):
        await anonymous.sign_in(token)
        for template in pages(application):
            if "{ledger_name}" in template:
                answer = await anonymous.client.get(scene.path(template))
                assert answer.status_code in {403, 404}, template
                assert scene.account["id"] not in answer.text


async def test_every_answer_has_the_headers_that_bind_a_browser(
    browser: Browser, visited: dict[str, httpx.Response]
) -> None:
    answers = list(visited.values())
    answers.append(await browser.client.get("/console/ledgers/none"))
    answers.append(await browser.client.get("/console?x=1"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert not {"unsafe-inline", "unsafe-eval", "*", "http:", "data:"} & set(policy.replace(";", " ").split())
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"].startswith("no-store")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_what_callers_wrote_stays_text(visited: dict[str, httpx.Response]) -> None:
    seen = 0
    for path, answer in visited.items():
        document = Document(answer.text)
        tags = {tag for tag, _ in document.tags}
        assert "onerror" not in {name for _, given in document.tags for name in given}, path
        assert [given for tag, given in document.tags if tag == "script" and "src" not in given] == []
        assert "style" not in tags | {name for _, given in document.tags for name in given}, path
        assert "{{7*7}}" in document.text or "49" not in document.text or path, path
        seen += ATTACK in document.text
    assert seen >= 4


@pytest.mark.parametrize("query", ["q", "reference", "reference_prefix", "description", "client", "account_id"])
async def test_what_is_asked_for_stays_text(browser: Browser, scene: Scene, query: str) -> None:
    for section in ("find", "accounts", "transfers", "holds", "declined"):
        answer = await browser.client.get(
            f"/console{scene.path('/ledgers/{ledger_name}')}/{section}", params={query: ATTACK}
        )
        assert answer.status_code in {200, 400}
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text


async def test_no_page_names_another_host(visited: dict[str, httpx.Response]) -> None:
    for path, answer in visited.items():
        for address in Document(answer.text).addresses:
            assert address.startswith(("/console", "#")), (path, address)


async def test_every_page_can_be_read_without_eyes(visited: dict[str, httpx.Response]) -> None:
    for path, answer in visited.items():
        tags = Document(answer.text).tags
        names = [tag for tag, _ in tags]
        assert names.count("h1") == 1, path
        assert names.count("main") == 1, path
        assert names.count("caption") == names.count("table"), path
        assert all(given.get("scope") for tag, given in tags if tag == "th"), path
        labels = {given["for"] for tag, given in tags if tag == "label"}
        unlabelled = [
            given
            for tag, given in tags
            if tag in _LABELLED and given.get("type") != "hidden" and given.get("id") not in labels
        ]
        assert unlabelled == [], path
        ids = [given["id"] for _, given in tags if "id" in given]
        assert len(ids) == len(set(ids)), path
        assert {given["aria-labelledby"] for _, given in tags if "aria-labelledby" in given} <= set(ids), path
        assert all("alt" in given for tag, given in tags if tag == "img"), path


async def test_every_page_says_how_the_api_gives_the_same(
    visited: dict[str, httpx.Response], client: httpx.AsyncClient
) -> None:
    for path, answer in visited.items():
        calls = re.findall(r"<code>GET (/v1/[^<]*)</code>", answer.text)
        assert calls or "/sign-in" in path, path
        for call in calls:
            assert (await client.get(call.replace("&amp;", "&"))).status_code in {200, 404, 503}, call


async def test_a_screen_is_told_of_by_its_template(application: Application) -> None:
    templates = getattr(application.app, "templates", [])
    assert "/console/ledgers/{ledger_name}/accounts/{account_id}" in templates


async def test_the_api_document_has_no_page(application: Application) -> None:
    assert b"/console" not in application.app.state.document.make()


async def test_an_auditor_sees_what_others_were_declined_and_a_reader_does_not(
    anonymous: Browser, scene: Scene, make_token: MakeToken
) -> None:
    path = scene.path("/console/ledgers/{ledger_name}/declined")
    await anonymous.sign_in(await make_token("audit"))
    assert "Insufficient funds" in (await anonymous.get(path)).text
    await anonymous.sign_in(await make_token("read"))
    page = (await anonymous.get(path)).text
    assert "Insufficient funds" not in page
    assert "Of your own client" in page


@pytest.mark.parametrize("form", ["csv", "xlsx", "camt053"])
async def test_a_statement_is_the_file_that_the_api_makes(
    browser: Browser, scene: Scene, client: httpx.AsyncClient, form: str
) -> None:
    path = scene.path("/ledgers/{ledger_name}/accounts/{account_id}/statement")
    answer = await browser.get(f"/console{path}?start=2020-01-01&end=2100-01-01&form={form}")
    period = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "axis": "value", "format": form}
    same = await client.get(f"/v1{path}", params=period)
    for name in ("content-type", "content-disposition"):
        assert answer.headers[name] == same.headers[name]
    assert answer.headers["x-content-type-options"] == "nosniff"
    if form == "csv":
        assert answer.text.splitlines()[1:-3] == same.text.splitlines()[1:-3]


async def test_a_file_that_cannot_be_is_a_page_that_says_why(browser: Browser, scene: Scene) -> None:
    path = scene.path("/console/ledgers/{ledger_name}/accounts/{account_id}/statement")
    answer = await browser.get(f"{path}?start=2100-01-01&end=2020-01-01&form=csv", 400)
    assert "the period ends before it begins" in Document(answer.text).text


async def test_amounts_stand_in_major_units(browser: Browser, scene: Scene) -> None:
    page = await browser.open(scene.path("/console/ledgers/{ledger_name}/transfers/{transfer_id}"))
    assert "Transfer of 10.50 USD" in page.text


@pytest.mark.parametrize("wanted", ["account_id", "transfer_id", "hold_id"])
async def test_an_id_leads_to_its_page(browser: Browser, scene: Scene, wanted: str) -> None:
    base = scene.path("/console/ledgers/{ledger_name}")
    identifier = scene.path(f"{{{wanted}}}")
    answer = await browser.client.get(f"{base}/find", params={"q": f" {identifier.upper()} "})
    assert answer.headers["location"] == f"{base}/{wanted.removesuffix('_id')}s/{identifier}"


@pytest.mark.parametrize("q", ["10.50 USD", "usd 10.50", "1050", _ATTACK_IN_REFERENCE[:5]])
async def test_an_amount_and_a_reference_are_found(browser: Browser, scene: Scene, q: str) -> None:
    answer = await browser.client.get(scene.path("/console/ledgers/{ledger_name}/find"), params={"q": q})
    assert f"/transfers/{scene.transfer['id']}" in answer.text


@pytest.mark.parametrize(
    "q", ["", "10.505 USD", "XXX 5", "-", "a" * 300, "\x00", "é€", "01a22030-328a-7c2d-8000-350b5d3dc789"]
)
async def test_what_is_not_there_is_not_found(browser: Browser, scene: Scene, q: str) -> None:
    answer = await browser.client.get(scene.path("/console/ledgers/{ledger_name}/find"), params={"q": q})
    assert answer.status_code in {200, 400}
    assert f"/transfers/{scene.transfer['id']}" not in answer.text


async def test_a_receipt_is_verified_on_its_page_and_by_whoever_has_it(
    browser: Browser, scene: Scene, client: httpx.AsyncClient
) -> None:
    path = scene.path("/console/ledgers/{ledger_name}/transfers/{transfer_id}")
    await sealed(scene.ledger, f"/transfers/{scene.transfer['id']}/receipt")
    page = (await browser.get(path)).text
    assert "Proven." in page
    answer = await browser.get(f"{path}/receipt")
    assert answer.headers["content-disposition"] == f'attachment; filename="receipt-{scene.transfer["id"]}.json"'
    receipt = answer.json()
    key = (await client.get(f"{scene.ledger.path}/log/key")).text.strip()
    proven = verify_receipt(receipt["entry"].encode(), receipt["receipt"], Trust([parse_verifier_key(key)]))
    assert proven.head.checkpoint.size > proven.index


async def test_a_receipt_that_proves_nothing_is_told(
    browser: Browser, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotProvenError("It leads elsewhere.")

    path = scene.path("/console/ledgers/{ledger_name}/transfers/{transfer_id}")
    await sealed(scene.ledger, f"/transfers/{scene.transfer['id']}/receipt")
    monkeypatch.setattr(receipts, "verify_receipt", refuse)
    page = (await browser.get(path)).text
    assert "does not prove this transfer: It leads elsewhere." in page
    assert "Proven." not in page
