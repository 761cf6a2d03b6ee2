"""The console in a real browser (Chromium), on the bank that ``funds demo`` makes: with eyes, without, by keyboard
alone, without scripts, on paper. ``make test-console`` runs it; skipped where there is no Chromium.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.servers import FUNDS, ROOT, RunningService, TestPostgres, clean_environment, free_port, random_token

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.timeout(600),  # all screens are one test
    pytest.mark.skipif("FUNDS_TEST_BROWSER" not in os.environ, reason="make test-console runs these, in a minute"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]

AXE = Path(__file__).with_name("axe-4.14.1.min.js")
"""axe-core 4.14.1 (MPL-2.0), from the npm package axe-core, unchanged."""
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_PICTURES = os.environ.get("FUNDS_CONSOLE_PICTURES")
"""A folder in which pictures of the screens are kept, if any."""


@pytest.fixture(scope="module")
async def service(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningService]:
    """``funds serve`` with the bank of ``funds demo``."""
    async with postgres.fresh_database() as database:
        environment = {
            "FUNDS_DATABASE_URL": database.service_url,
            "FUNDS_ADMIN_TOKEN": random_token(),
            "FUNDS_PORT": str(free_port()),
            "FUNDS_LOG_LEVEL": "warning",
            "FUNDS_VERIFY_SHARE": "1",
        }
        env = clean_environment(environment)
        subprocess.run([*FUNDS, "demo"], cwd=ROOT, env=env, check=True, capture_output=True, timeout=100)
        running = RunningService(environment, tmp_path_factory.mktemp("console") / "log")
        try:
            running.wait_until_ready()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator["Browser"]:
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Visitor:
    """Somebody with a browser: ``asked`` are the addresses that it asked for, ``said`` what it complained of."""

    def __init__(self, context: "BrowserContext", page: "Page", service: RunningService) -> None:
        self.context = context
        self.page = page
        self.service = service
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))

    async def sign_in(self) -> None:
        await self.open("")
        await self.page.get_by_label("Token").fill(self.service.admin_token)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(f"{self.service.url}/console")

    async def open(self, path: str) -> None:
        answer = await self.page.goto(f"{self.service.url}/console{path}")
        assert answer is not None
        assert answer.ok, path

    async def look(self, name: str) -> None:
        """Keep a picture of what is seen."""
        if _PICTURES:
            await self.page.screenshot(path=Path(_PICTURES) / f"{name}.png")


@pytest.fixture
async def visitor(
    chromium: "Browser", service: RunningService, request: pytest.FixtureRequest
) -> AsyncIterator[Visitor]:
    context = await chromium.new_context(viewport={"width": 1280, "height": 860}, **getattr(request, "param", {}))
    visitor = Visitor(context, await context.new_page(), service)
    yield visitor
    assert [url for url in visitor.asked if not url.startswith(f"{service.url}/")] == []
    assert visitor.said == []
    await context.close()


def addresses(service: RunningService) -> Iterator[tuple[str, str]]:
    """Every screen of the bank: its name, and its address."""
    with httpx.Client(base_url=f"{service.url}/v1/ledgers/demo", headers=service.headers) as api:
        account = api.get("/accounts?reference=customer-001").json()["items"][0]["id"]
        transfer = api.get("/transfers?limit=1").json()["items"][0]["id"]
    yield "ledgers", ""
    yield "tokens", "/tokens"
    for name, path in {
        "ledger": "",
        "find": "/find?q=4.00+USD",
        "accounts": "/accounts",
        "account": f"/accounts/{account}?as_of=2100-01-01",
        "change": f"/accounts/{account}/change?to=bounds",
        "transfers": "/transfers",
        "transfer": f"/transfers/{transfer}",
        "reverse": f"/transfers/{transfer}/reverse",
        "holds": "/holds",
        "declined": "/declined",
        "trial-balance": "/trial-balance",
        "history": "/history?live=false",
        "integrity": "/integrity",
    }.items():
        yield name, f"/ledgers/demo{path}"


def test_what_judges_the_pages_is_what_was_published() -> None:
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_SHA256


@pytest.mark.parametrize("visitor", [{"color_scheme": "light"}, {"color_scheme": "dark"}], ids=str, indirect=True)
async def test_everybody_can_read_every_screen(visitor: Visitor, service: RunningService) -> None:
    axe = AXE.read_text()
    await visitor.open("/sign-in")
    assert await _violations(visitor.page, axe) == []
    await visitor.sign_in()
    for name, path in addresses(service):
        await visitor.open(path)
        await visitor.look(name)
        assert await _violations(visitor.page, axe) == [], path


async def _violations(page: "Page", axe: str) -> list[Any]:
    # Through the debugger, for the page's own policy lets no script of ours in.
    await page.evaluate(axe)
    found = await page.evaluate(f"axe.run({{runOnly: {_RULES}, resultTypes: ['violations']}})")
    return [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found["violations"]]


@pytest.mark.parametrize("visitor", [{"java_script_enabled": False}], ids=["no scripts"], indirect=True)
async def test_everything_works_without_scripts(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.sign_in()
    await page.get_by_role("link", name="demo", exact=True).click()
    await page.get_by_role("link", name="Accounts", exact=True).click()
    await page.get_by_label("Reference").fill("customer-001")
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("rowheader").get_by_role("link").click()
    await page.get_by_role("link", name="Freeze…").click()
    await page.get_by_label("Reason").fill("asked by phone")
    await page.get_by_role("button", name="Freeze").click()
    assert await page.get_by_text("Status: open → frozen").count() == 1
    await page.get_by_role("link", name="Thaw…").click()
    await page.get_by_label("Reason").fill("asked again")
    await page.get_by_role("button", name="Thaw").click()
    await page.get_by_role("link", name="History").click()
    assert await page.get_by_role("link", name="Account revised").count() == 2
    await page.get_by_role("button", name="Sign out").click()
    assert await page.get_by_label("Token").count() == 1


async def test_a_walk_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.page
    await visitor.open("")
    await page.keyboard.type(visitor.service.admin_token)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{visitor.service.url}/console")
    await page.keyboard.press("Tab")
    assert await _focused(page) == "Skip to the content"
    await page.keyboard.press("Enter")
    seen = []
    while (name := await _focused(page)) != "demo":
        await page.keyboard.press("Tab")
        seen.append(name)
        assert len(seen) < 20, seen
        assert await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid" or not name
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/ledgers/demo")


async def _focused(page: "Page") -> str:
    text: str = await page.evaluate("document.activeElement === document.body ? '' : document.activeElement.innerText")
    return text.strip()


async def test_the_history_refreshes_itself(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.open("/ledgers/demo/history")
    rows = visitor.page.locator("#feed tbody tr")
    before = await rows.first.inner_text()
    with httpx.Client(base_url=f"{visitor.service.url}/v1/ledgers/demo", headers=visitor.service.headers) as api:
        made = api.post(
            "/accounts", json={"currency": "USD", "name": "Live"}, headers={"Idempotency-Key": random_token()}
        )
        assert made.status_code == 201
    await visitor.page.wait_for_function(
        "before => document.querySelector('#feed tbody tr').innerText !== before", arg=before, timeout=60_000
    )
    assert "Live" in await rows.first.inner_text()


async def test_on_paper_there_is_what_is_to_be_read(visitor: Visitor) -> None:
    await visitor.sign_in()
    await visitor.open("/ledgers/demo/trial-balance")
    await visitor.page.emulate_media(media="print")
    assert await visitor.page.locator("table").first.is_visible()
    for part in (".sections", ".find", ".who", ".filter"):
        assert not await visitor.page.locator(part).first.is_visible(), part
    assert (await visitor.page.pdf()).startswith(b"%PDF")


async def test_a_phone_shows_it_without_scrolling_aside(visitor: Visitor) -> None:
    await visitor.page.set_viewport_size({"width": 360, "height": 740})
    await visitor.sign_in()
    for path in ("/ledgers/demo", "/ledgers/demo/transfers", "/ledgers/demo/trial-balance"):
        await visitor.open(path)
        width = await visitor.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, path
