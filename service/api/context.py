"""What handlers are given: the service's parts, and the ledger that a path names."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import HTTPScope
from msgspec import Struct

from service.access.authenticator import Authenticator
from service.access.principal import Principal
from service.api.http.headers import add_to_answer
from service.api.readiness import Readiness
from service.audit.feed import Feed
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.audit.watcher import HeadWatcher
from service.domain.accounts import AccountDetails
from service.domain.history import INSTALLATION, Caller, LoggedLedger
from service.domain.holds import Hold
from service.domain.ledgers import NO_LEDGER, StoredLedger
from service.domain.transfers import Transfer
from service.errors import ProblemError
from service.posting.committer import Committer
from service.posting.damage import DamagedLedgers
from service.settings import Settings
from service.storage.coalescing import CoalescedReads, Rows
from service.storage.pools import Pools
from service.storage.replica import Replica
from service.storage.repositories import Repositories
from service.storage.slots import Slots
from service.storage.transactions import Reader, Transactions
from service.telemetry.records import record_of
from service.wire.errors import shown
from service.wire.reasons import Forbidden, LedgerNotFound
from service.wire.scalars import LEDGER_NAME_PATTERN, LEDGER_NAME_WORDS
from service.workers.periodic import PeriodicWorker

_LEDGER_NAME = re.compile(LEDGER_NAME_PATTERN)


AS_OF_HEADER = "X-Data-As-Of"
OF_CLIENTS_HEADER = "X-Data-Of-Clients"
"""Says ``own`` where what other clients asked for is left out, because the token may not see it."""


class LedgerRef(LoggedLedger, frozen=True):
    """A ledger as a path names it: the internal id, the name, and the prefix of paths that callers find it under.
    Without a name it is the installation itself, which has a history as ledgers have.
    """

    path_prefix: str

    @property
    def path(self) -> str:
        """The path by which callers ask for it."""
        return f"{self.path_prefix}{self.source}"


class LedgerDirectory:
    """Ledgers by name. They are never renamed or deleted, so what was found once stays true. Look-ups share a query."""

    def __init__(self, reader: Reader, path_prefix: str) -> None:
        self._path_prefix = path_prefix
        self._known: dict[str, LedgerRef] = {}
        self._ledgers: CoalescedReads[str, StoredLedger] = CoalescedReads(
            reader, lambda session, _, names: Repositories(session).ledgers.by_names(names), key=attrgetter("name")
        )

    async def find(self, name: str) -> LedgerRef | None:
        """Return the ledger called ``name``. Raises StorageError."""
        known = self._known.get(name)
        if known is None and _LEDGER_NAME.fullmatch(name):
            ledger = await self.read(name)
            if ledger is not None:
                known = self._known[name] = LedgerRef(ledger.id, ledger.name, self._path_prefix)
        return known

    async def read(self, name: str) -> StoredLedger | None:
        """Return the ledger called ``name``. Raises StorageError."""
        ledger, _ = await self._ledgers.get(NO_LEDGER, name)
        return ledger


class Services(Struct, frozen=True, kw_only=True):
    """The parts of a running service that handlers use. ``transactions`` open and revise accounts and ledgers;
    ``reader`` is for lists and what else a client can make long, and takes a slot for it; ``primary_reader`` never
    reads from a replica.
    """

    settings: Settings
    transactions: Transactions
    pools: Pools
    replica: Replica | None
    reader: Reader
    primary_reader: Reader
    committer: Committer
    feed: Feed
    watcher: HeadWatcher
    log_signer: LogSigner | None
    log_keys: LogKeys
    workers: Sequence[PeriodicWorker]
    readiness: Readiness
    ledgers: LedgerDirectory
    authenticator: Authenticator
    overviews: Reader
    damaged: DamagedLedgers
    batch_slots: Slots
    file_slots: Slots
    accounts: Rows[UUID, AccountDetails]
    transfers: Rows[UUID, Transfer]
    holds: Rows[UUID, Hold]


# Each of these depends on the one before it: Litestar resolves dependencies that do not in a task group, which costs
# more than everything else it does for a request. So handlers without a ledger take no reader, and use reader_for.


async def provide_services(request: Request[Principal, Any, Any]) -> Services:
    """Return the parts that ``app`` made at start."""
    services: Services = request.app.state.services
    return services


async def provide_ledger(
    request: Request[Principal, Any, Any], services: NamedDependency[Services], ledger_name: FromPath[str]
) -> LedgerRef:
    """Return the ledger in the path. Raises ProblemError (ledger_not_found), also when the token is not for it."""
    return await find_ledger(services, request.user, ledger_name)


async def provide_installation(request: Request[Principal, Any, Any], services: NamedDependency[Services]) -> LedgerRef:
    """Return the installation in a ledger's place. Raises ProblemError (forbidden) for a token of some ledgers."""
    if request.user.ledgers is not None:
        raise ProblemError(Forbidden(), "This token is limited to some ledgers.")
    return installation_of(services)


def installation_of(services: Services) -> LedgerRef:
    """Return the installation in a ledger's place."""
    return LedgerRef(INSTALLATION.id, INSTALLATION.name, services.settings.path_prefix)


async def provide_reader(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    ledger: NamedDependency[LedgerRef],  # noqa: ARG001 - the link of the chain
) -> Reader:
    """Return what runs a read for the caller: every call takes a slot, and is a session and a READ ONLY transaction of
    its own, retried. An answer that the replica gave says so.
    """
    return reader_for(request.scope, services.reader)


async def provide_caller(request: Request[Principal, Any, Any], ledger: NamedDependency[LedgerRef]) -> Caller:
    """Return who asks for what the request does."""
    return caller_of(request.scope, request.user, ledger)


def caller_of(scope: HTTPScope, principal: Principal, ledger: LedgerRef) -> Caller:
    """Return that ``principal`` asks for what the request of ``scope`` does."""
    return Caller(
        ledger_id=ledger.id,
        client_id=principal.client,
        request_id=record_of(scope).id,
        debit_limit=principal.debit_limit,
    )


def reader_for(scope: HTTPScope, reader: Reader) -> Reader:
    """Return ``reader`` for who sent the request of ``scope``; its answer tells the age of what the replica said."""
    principal: Principal = scope["user"]
    return reader.for_client(principal.client, lambda as_of: add_to_answer(scope, as_of_header(as_of)))


def as_of_header(as_of: datetime | None) -> dict[str, str]:
    """Return the header that tells the age of what was read from a replica; none for the primary."""
    if as_of is None:
        return {}
    return {AS_OF_HEADER: as_of.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}


async def find_ledger(services: Services, principal: Principal, name: str) -> LedgerRef:
    """Return the ledger called ``name``. Raises ProblemError (ledger_not_found), also when the token is not for it.

    Nothing is looked up for a token that may not see the ledger: the time that it takes would tell whether it exists.
    """
    ledger = await services.ledgers.find(name) if principal.sees(name) else None
    if ledger is None:
        hint = "" if _LEDGER_NAME.fullmatch(name) else f" A path names {LEDGER_NAME_WORDS}."
        raise ProblemError(LedgerNotFound(), f'There is no ledger "{shown(name)}" for this token.{hint}')
    return ledger
