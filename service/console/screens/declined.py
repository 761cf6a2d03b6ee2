"""Declined requests: what was rejected or fenced, and the numbers behind it."""

from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from service.console.problems import code_of, members_of
from service.console.visits import Visit
from service.wire.decisions import DecisionView
from service.wire.pages import Page
from service.wire.problems import Problem

_PAGE = 50


@get("/ledgers/{ledger_name:str}/declined")
async def show_declined(
    visit: NamedDependency[Visit],
    ledger_name: FromPath[str],
    outcome: FromQuery[str] = "rejected",
    account_id: FromQuery[str] = "",
    created_from: FromQuery[str] = "",
    created_to: FromQuery[str] = "",
    cursor: FromQuery[str] = "",
) -> Template:
    """List declined requests, newest first."""
    filters = {
        "outcome": outcome,
        "account_id": account_id,
        "created_from": begin_of_day(created_from),
        "created_to": begin_of_day(created_to),
    }
    found = await visit.api.read(
        Page[DecisionView], "ledgers", ledger_name, "decisions", limit=_PAGE, cursor=cursor, **filters
    )
    query = {"outcome": outcome, "account_id": account_id, "created_from": created_from, "created_to": created_to}
    return visit.page(
        "declined.html",
        ledger=ledger_name,
        section="declined",
        decisions=[(one, _told(one)) for one in found.items],
        next_cursor=found.next_cursor,
        cursor=cursor,
        query=query,
        all_clients=visit.may("audit"),
    )


def begin_of_day(text: str) -> str:
    """Return what a field for a day or a time has, as the API takes it: a day alone begins at midnight, UTC."""
    return f"{text}T00:00:00Z" if len(text) == len("2026-11-28") else text


def _told(decision: DecisionView) -> dict[str, Any]:
    """Return why a request was declined: its code, its sentence, its numbers."""
    problem = decision.problem
    if problem is None:
        return {"code": "", "title": "Fenced", "detail": "The key was made unusable.", "members": {}}
    return {
        "code": code_of(problem),
        "title": problem.title,
        "detail": problem.detail,
        "members": _numbers(problem),
    }


def _numbers(problem: Problem) -> dict[str, Any]:
    """Return the numbers of ``problem``; the accounts are told of by what was asked for."""
    return {name: value for name, value in members_of(problem).items() if not name.endswith("account_id")}
