"""The ledgers of tests: made, moved in time, checked, and forgotten."""

import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from asyncpg import Connection, Pool

from funds_testing.server.asking import Asking
from funds_testing.server.told import JSON, Told
from funds_testing.wire import Finding, LedgerMade
from service.access.principal import ADMIN_CLIENT
from service.access.tokens import issue
from service.api.context import Services
from service.domain.holds import Hold, HoldStatus
from service.domain.integrity import Scope
from service.posting.room import expiries
from service.storage.database import Database
from service.storage.integrity import OPENINGS, RULES

SCOPES = ("transfers:write", "accounts:write", "read")
STANDS_AS_TOLD = "a transfer stands as a caller was told"
IS_KNOWN = "a caller knows of every transfer that stands"

PLANS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_hashjoin": "off", "jit": "off"}
"""Of the connections of a superuser: a rule is planned once, and not for each ledger."""

_PAGE = 1000
_FINDINGS_MAX = 20
_ALWAYS = datetime.min.replace(tzinfo=UTC)
_LAST_DECISION = """
    SELECT client_id, idempotency_key FROM funds.decisions WHERE ledger_id = $1
    ORDER BY client_id DESC, idempotency_key DESC LIMIT 1
"""
_LOCK_OPEN_HOLDS = """
    SELECT FROM funds.holds WHERE ledger_id = $1 AND status = 'open' ORDER BY id FOR NO KEY UPDATE
"""
_ADVANCE_HOLDS = """
    WITH clock AS (SELECT clock_timestamp() AS now)
    UPDATE funds.holds
    SET expires_at = least(expires_at, greatest(clock.now, expires_at - make_interval(secs => $2)))
    FROM clock WHERE ledger_id = $1 AND status = 'open'
    RETURNING id, expires_at <= clock.now AS over
"""
"""Locks first, in the order of batches, and then the clock: later than all that happened to a hold before."""


class TestLedgers:
    """Works on the ledgers of tests in the database of a running service, which ``service`` asks as the admin.

    ``told`` is what the callers of each were told, since it was made here.
    """

    __test__ = False

    def __init__(self, services: Services, operator: Database, superuser: Pool, service: Asking) -> None:
        self.told: dict[str, Told] = {}
        self._services = services
        self._operator = operator
        self._superuser = superuser
        self._service = service

    async def make(self, prefix: str) -> LedgerMade:
        """Make a ledger with a name that begins with ``prefix``, and a token for it alone."""
        name = f"{prefix}-{secrets.token_hex(6)}"
        client = f"caller-of-{name}"
        await self._service.post("/v1/ledgers", {"name": name}, key=name)
        async with self._operator.sessions() as session, session.begin():
            issued = await issue(session, client=client, scopes=SCOPES, ledgers=[name])
        self.told[name] = Told()
        return LedgerMade(name, client, issued.token)

    async def find(self, name: str) -> int | None:
        """Return the internal id of a ledger."""
        found = await self._services.ledgers.find(name)
        return None if found is None else found.id

    async def advance(self, ledger_id: int, seconds: float) -> list[str]:
        """Let ``seconds`` pass for the open holds of a ledger: each ends that much sooner. Those whose time is over
        then expire as the sweeper has them expire. Return which.
        """
        async with self._superuser.acquire() as connection, connection.transaction():
            await connection.execute(_LOCK_OPEN_HOLDS, ledger_id)
            rows = await connection.fetch(_ADVANCE_HOLDS, ledger_id, seconds)
        over = [UUID(int=row["id"].int) for row in rows if row["over"]]
        answers = await self._services.committer.submit(ledger_id, expiries(over)) if over else []
        ended = [answer.result for [answer] in answers]
        return [str(one.id) for one in ended if isinstance(one, Hold) and one.status == HoldStatus.EXPIRED]

    async def check(self, name: str, ledger_id: int) -> list[Finding]:
        """Return what is wrong with a ledger: by every rule of the product, and by what callers were told."""
        async with self._superuser.acquire() as connection:
            findings = await _broken_rules(connection, ledger_id)
        told = self.told.get(name)
        if told is not None:
            stands = {transfer["id"]: transfer async for transfer in self._transfers(name)}
            findings += [*_told_otherwise(told, stands), *_unknown(told, stands)]
        return findings

    def mean_doubt(self, name: str) -> None:
        """Let the callers of a ledger leave it open what became of their requests."""
        self.told[name].doubt_is_meant = True

    def forget(self, name: str) -> None:
        """Let go of what the callers of a ledger were told. The ledger stays: nothing deletes one."""
        self.told.pop(name, None)

    async def _transfers(self, name: str) -> AsyncIterator[JSON]:
        query: dict[str, str | int] = {"limit": _PAGE}
        while True:
            page = await self._service.get(f"/v1/ledgers/{name}/transfers", **query)
            for transfer in page["items"]:
                yield transfer
            if page["next_cursor"] is None:
                return
            query["cursor"] = page["next_cursor"]


async def _broken_rules(connection: Connection, ledger_id: int) -> list[Finding]:
    """Ask every rule of the product of a whole ledger, on one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        last_decision = await connection.fetchrow(_LAST_DECISION, ledger_id)
        findings = []
        for rule in (*RULES, *OPENINGS):
            bounds: tuple[Any, ...] = ()
            if rule.scope is not Scope.LEDGER:
                bounds = (*rule.scope.first, *(rule.scope.last or last_decision or rule.scope.first), _ALWAYS)
            found = await connection.fetch(rule.query, ledger_id, *bounds)
            findings += [Finding(rule.name, row["id"], row["wrong"]) for row in found[:_FINDINGS_MAX]]
    return findings


def _told_otherwise(told: Told, stands: Mapping[str, JSON]) -> list[Finding]:
    return [
        Finding(STANDS_AS_TOLD, transfer_id, f"told as {shown}, and it is {stands.get(transfer_id)}")
        for transfer_id, shown in told.transfers.items()
        if stands.get(transfer_id) != shown
    ]


def _unknown(told: Told, stands: Mapping[str, JSON]) -> list[Finding]:
    """Return the transfers that no caller was told of. What the admin posts is the test's own."""
    if told.doubt_is_meant:
        return []
    return [
        Finding(IS_KNOWN, transfer_id, _why_unknown(transfer_id, transfer, told))
        for transfer_id, transfer in stands.items()
        if transfer_id not in told.ids and transfer["client"] != ADMIN_CLIENT
    ]


def _why_unknown(transfer_id: str, transfer: JSON, told: Told) -> str:
    moved = (
        f"{transfer['amount']} {transfer['currency']} moved, and no answer that says so reached {transfer['client']}"
    )
    key = told.lost.get(transfer_id)
    if key is None:
        return f"{moved}."
    return f"{moved}: the one to key {key!r} was lost, and nobody asked again under that key."
