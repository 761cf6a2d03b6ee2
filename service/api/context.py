"""What handlers are given: the service's parts, and the ledger that a path names."""

import re
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from service.api.headers import add_to_answer
from service.api.problems import ProblemError, shown
from service.api.readiness import Readiness
from service.api.schemas import LEDGER_NAME_PATTERN, LEDGER_NAME_WORDS
from service.api.security import Authenticator, Principal
from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.engine.administration import NO_LEDGER
from service.engine.engine import TransferEngine
from service.engine.sweeper import HoldSweeper
from service.settings import Settings
from service.storage.coalescing import CoalescedReads, Rows
from service.storage.database import Database
from service.storage.ledgers import LedgerRepository
from service.storage.models import Ledger
from service.storage.places import Places
from service.storage.pools import Pools
from service.storage.replica import Replica
from service.storage.retry import Reader

_LEDGER_NAME = re.compile(LEDGER_NAME_PATTERN)


AS_OF_HEADER = "X-Data-As-Of"


class LedgerRef(Struct, frozen=True):
    """A ledger as a path names it: the internal id, the name, and the prefix of paths that callers find it under."""

    id: int
    name: str
    path_prefix: str

    @property
    def path(self) -> str:
        """The path by which callers ask for it."""
        return f"{self.path_prefix}/v1/ledgers/{self.name}"


class LedgerDirectory:
    """Ledgers by name. They are never renamed or deleted, so what was found once stays true. Look-ups share a query."""

    def __init__(self, reader: Reader, path_prefix: str) -> None:
        self._path_prefix = path_prefix
        self._known: dict[str, LedgerRef] = {}
        self._ledgers: CoalescedReads[str, Ledger] = CoalescedReads(
            reader, lambda session, _, names: LedgerRepository(session).by_names(names), key=attrgetter("name")
        )

    async def find(self, name: str) -> LedgerRef | None:
        """Return the ledger called ``name``. Raises StorageError."""
        known = self._known.get(name)
        if known is None and _LEDGER_NAME.fullmatch(name):
            ledger = await self.read(name)
            if ledger is not None:
                known = self._known[name] = LedgerRef(ledger.id, ledger.name, self._path_prefix)
        return known

    async def read(self, name: str) -> Ledger | None:
        """Return the whole row of the ledger called ``name``. Raises StorageError."""
        ledger, _ = await self._ledgers.get(NO_LEDGER, name)
        return ledger


class Services(Struct, frozen=True, kw_only=True):
    """The parts of a running service that handlers use. ``database`` is for administration; ``reader`` is for lists and
    what else a client can make long, and takes a place for it; ``primary_reader`` never reads from a replica.
    """

    settings: Settings
    database: Database
    pools: Pools
    replica: Replica | None
    reader: Reader
    primary_reader: Reader
    engine: TransferEngine
    sweeper: HoldSweeper
    readiness: Readiness
    ledgers: LedgerDirectory
    authenticator: Authenticator
    overviews: Reader
    batch_turns: Places
    accounts: Rows[UUID, AccountDetails]
    transfers: Rows[UUID, Transfer]
    holds: Rows[UUID, Hold]


# Each of these depends on the one before it: Litestar resolves dependencies that do not in a task group, which costs
# more (110 µs) than everything else it does for a request.


async def provide_services(state: State) -> Services:
    """Return the parts that ``app`` made at start."""
    services: Services = state.services
    return services


async def provide_reader(request: Request[Principal, Any, Any], services: NamedDependency[Services]) -> Reader:
    """Return what runs a read for the caller: every call takes a place, and is a session and a READ ONLY transaction of
    its own, retried. An answer that the replica gave says so.
    """
    return reader_for(request, services.reader)


def reader_for(request: Request[Principal, Any, Any], reader: Reader) -> Reader:
    """Return ``reader`` for the caller of ``request``, whose answer tells the age of what the replica said."""
    return reader.for_client(request.user.client, lambda as_of: add_to_answer(request.scope, as_of_header(as_of)))


def as_of_header(as_of: datetime | None) -> dict[str, str]:
    """Return the header that tells the age of what was read from a replica; none for the primary."""
    if as_of is None:
        return {}
    return {AS_OF_HEADER: as_of.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}


async def provide_ledger(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],  # noqa: ARG001 - the link of the chain
    ledger_name: FromPath[str],
) -> LedgerRef:
    """Return the ledger in the path. Raises ProblemError (ledger_not_found), also when the token is not for it."""
    return await find_ledger(services, request.user, ledger_name)


async def find_ledger(services: Services, principal: Principal, name: str) -> LedgerRef:
    """Return the ledger called ``name``. Raises ProblemError (ledger_not_found), also when the token is not for it.

    Nothing is looked up for a token that may not see the ledger: the time that it takes would tell whether it exists.
    """
    ledger = await services.ledgers.find(name) if principal.sees(name) else None
    if ledger is None:
        hint = "" if _LEDGER_NAME.fullmatch(name) else f" A path names {LEDGER_NAME_WORDS}."
        raise ProblemError("ledger_not_found", f'There is no ledger "{shown(name)}" for this token.{hint}')
    return ledger
