"""A browser without scripts: it keeps cookies, follows links, and sends the forms that it finds on pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import httpx

from tests.support.application import Application

ORIGIN = "http://127.0.0.1:8000"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Origin": "null"}


class Document(HTMLParser):
    """What a page has: its text, the addresses that it names, and its forms with their fields."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.append((tag, given))
        self.addresses += [given[name] for name in ("href", "src", "action", "hx-get") if name in given]
        if tag == "form":
            self.forms.append({"": given.get("action", "")})
        elif tag in {"input", "select", "textarea"} and "name" in given and self.forms:
            self.forms[-1][given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data

    def form(self, action: str) -> dict[str, str]:
        """The fields of the form whose address ends with ``action``."""
        [form] = [form for form in self.forms if form[""].endswith(action)]
        return dict(form)


class Browser:
    """Pages of the console, as somebody sees them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def sign_in(self, token: str, to: str = "") -> httpx.Response:
        return await self.client.post("/console/sign-in", data={"token": token, "to": to}, headers=SAME_ORIGIN)

    async def get(self, path: str, status: int = 200) -> httpx.Response:
        response = await self.client.get(path)
        assert response.status_code == status, response.text
        return response

    async def open(self, path: str) -> Document:
        return Document((await self.get(path)).text)

    async def send(self, form: dict[str, str], **fields: str) -> httpx.Response:
        """Send a form that a page has, with ``fields`` filled in."""
        action = form.pop("")
        return await self.client.post(action, data=form | fields, headers=SAME_ORIGIN)


@asynccontextmanager
async def browsing(application: Application) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    carrier = httpx.ASGITransport(app=application.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=carrier, base_url=ORIGIN) as client:
        yield Browser(client)
