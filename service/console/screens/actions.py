"""What operators do: freeze, thaw or close an account, change its bounds, void a hold, reverse a transfer.

Each is a page that says what will happen and asks why, and then the API's own operation under a key that the page was
made with: sent twice, it is done once. What an account's change is for stands in its metadata, as ``reason``; what a
reversal is for is its description. The history has both, with the author.
"""

import secrets
from typing import Any
from uuid import UUID

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template
from msgspec import Struct

from service.console.formats import money
from service.console.forms import Form
from service.console.pages import console_url, redirect
from service.console.visits import FORM, Visit
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.errors import EntryError, ProblemError
from service.journals.amounts import decimal_text, minor_units, whole_number
from service.wire.errors import MalformedError
from service.wire.reasons import Forbidden
from service.wire.views import AccountView, HoldView, TransferView

_KEY_BYTES = 16
_REASON = "reason"
"""The member of an account's metadata that says what its latest change here was for."""


class Change(Struct, frozen=True):
    """A change of an account's status: what it is called, what it leads to, what it means."""

    title: str
    status: str
    meaning: str


CHANGES = {
    "freeze": Change("Freeze", "frozen", "Nothing is posted to it, held on it or captured from it until it is thawed."),
    "thaw": Change("Thaw", "open", "Transfers and holds move it again."),
    "close": Change(
        "Close", "closed", "It takes part in nothing any more. An account with a balance or holds cannot be."
    ),
}
_POSSIBLE = {"open": ("freeze", "close"), "frozen": ("thaw", "close"), "closed": ()}


def possible_changes(visit: Visit, account: AccountView) -> dict[str, Change]:
    """Return what whoever is signed in may do to ``account``."""
    if not visit.may("accounts:write"):
        return {}
    return {name: CHANGES[name] for name in _POSSIBLE[account.status]}


@get("/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/change")
async def ask_change(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], account_id: FromPath[UUID], to: FromQuery[str]
) -> Template:
    """Ask whether to change an account: its status, or with ``bounds`` its minimum and maximum."""
    _require(visit, "accounts:write")
    answer = await visit.api.answer("GET", ("ledgers", ledger_name, "accounts", account_id), {})
    account = answer.as_type(AccountView)
    change = CHANGES.get(to)
    if change is None and to != "bounds":
        raise MalformedError("/query/to", "this must be freeze, thaw, close or bounds")
    return visit.page(
        "change_account.html",
        ledger=ledger_name,
        section="accounts",
        account=account,
        to=to,
        change=change,
        etag=answer.headers["etag"],
        key=_new_key(),
        bounds=[_written(bound, account.currency) for bound in (account.minimum_balance, account.maximum_balance)],
    )


@post("/ledgers/{ledger_name:str}/accounts/{account_id:uuid}/change", opt=FORM)
async def change_account(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], account_id: FromPath[UUID]
) -> Redirect:
    """Change an account as the form says, unless somebody changed it since the page was made."""
    form = await visit.form()
    path = ("ledgers", ledger_name, "accounts", account_id)
    account = await visit.api.read(AccountView, *path)
    body: dict[str, Any] = {"metadata": account.metadata | {_REASON: _reason(form)}}
    change = CHANGES.get(form.get("to", ""))
    if change is not None:
        body["status"] = change.status
    else:
        body["minimum_balance"] = _bound(form, "minimum", account.currency)
        body["maximum_balance"] = _bound(form, "maximum", account.currency)
    headers = {"If-Match": _given(form, "etag"), "Idempotency-Key": _given(form, "key")}
    await visit.api.answer("PATCH", path, {}, headers, body)
    return redirect(console_url(visit.request, *path))


@get("/ledgers/{ledger_name:str}/holds/{hold_id:uuid}/void")
async def ask_void(visit: NamedDependency[Visit], ledger_name: FromPath[str], hold_id: FromPath[UUID]) -> Template:
    """Ask whether to void a hold."""
    _require(visit, "transfers:write")
    hold = await visit.api.read(HoldView, "ledgers", ledger_name, "holds", hold_id)
    return visit.page("void_hold.html", ledger=ledger_name, section="holds", hold=hold, key=_new_key())


@post("/ledgers/{ledger_name:str}/holds/{hold_id:uuid}/void", opt=FORM)
async def void_hold(visit: NamedDependency[Visit], ledger_name: FromPath[str], hold_id: FromPath[UUID]) -> Redirect:
    """Void a hold."""
    form = await visit.form()
    path = ("ledgers", ledger_name, "holds", hold_id)
    await visit.api.answer("POST", (*path, "void"), {}, {"Idempotency-Key": _given(form, "key")})
    return redirect(console_url(visit.request, *path))


@get("/ledgers/{ledger_name:str}/transfers/{transfer_id:uuid}/reverse")
async def ask_reversal(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], transfer_id: FromPath[UUID]
) -> Template:
    """Ask whether to reverse a transfer, and how much of it."""
    _require(visit, "transfers:write")
    path = ("ledgers", ledger_name, "transfers", transfer_id)
    transfer = await visit.api.read(TransferView, *path, expand="accounts")
    return visit.page(
        "reverse_transfer.html",
        ledger=ledger_name,
        section="transfers",
        transfer=transfer,
        key=_new_key(),
        written=_written(transfer.amount, transfer.currency),
    )


@post("/ledgers/{ledger_name:str}/transfers/{transfer_id:uuid}/reverse", opt=FORM)
async def reverse_transfer(
    visit: NamedDependency[Visit], ledger_name: FromPath[str], transfer_id: FromPath[UUID]
) -> Response[Any]:
    """Reverse a transfer, whole or in part, and show the reversal."""
    form = await visit.form()
    path = ("ledgers", ledger_name, "transfers")
    transfer = await visit.api.read(TransferView, *path, transfer_id)
    body = {"description": _reason(form), "amount": _amount(_given(form, "amount"), transfer.currency, "amount")}
    headers = {"Idempotency-Key": _given(form, "key")}
    answer = await visit.api.answer("POST", (*path, transfer_id, "reversals"), {}, headers, body)
    return redirect(console_url(visit.request, *path, answer.as_type(TransferView).id))


def _require(visit: Visit, scope: str) -> None:
    """Raise ProblemError for whoever has not ``scope``: a page that asks for what they may not do is not shown."""
    if not visit.may(scope):
        raise ProblemError(Forbidden(scope), f"This needs the scope {scope}.")


def _new_key() -> str:
    return f"console-{secrets.token_hex(_KEY_BYTES)}"


def _given(form: Form, name: str) -> str:
    value = form.get(name)
    if value is None:
        raise MalformedError(f"/{name}", "this is missing; fill it in")
    return value


def _reason(form: Form) -> str:
    return _given(form, "reason")


def _written(amount: int | None, currency: str) -> str:
    """Return ``amount`` as a field has it: in major units, as far as the currency has some."""
    return "" if amount is None else decimal_text(amount, MINOR_UNIT_EXPONENTS.get(currency, 0))


def _bound(form: Form, name: str, currency: str) -> int | None:
    return None if name not in form else _amount(form[name], currency, name)


def _amount(text: str, currency: str, name: str) -> int:
    try:
        return minor_units(text, currency) if currency in MINOR_UNIT_EXPONENTS else whole_number(text)
    except EntryError as error:
        raise MalformedError(f"/{name}", f"{error}; write it like {money(123456, currency)}") from None
