"""What handlers are given: the service's parts, and the ledger that a path names."""

import re
from typing import Any
from uuid import UUID

from litestar import Request
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from service.api.problems import ProblemError, shown
from service.api.schemas import LEDGER_NAME_PATTERN, LEDGER_NAME_WORDS
from service.api.security import Authenticator, Principal
from service.audit.overview import OverviewReader
from service.domain.accounts import AccountDetails
from service.domain.holds import Hold
from service.domain.transfers import Transfer
from service.engine.engine import TransferEngine
from service.engine.sweeper import HoldSweeper
from service.settings import Settings
from service.storage.coalescing import CoalescedReads
from service.storage.database import Database
from service.storage.ledgers import LedgerRepository
from service.storage.retry import Reader

_LEDGER_NAME = re.compile(LEDGER_NAME_PATTERN)


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
    """Ledgers by name. They are never renamed or deleted, so what was found once stays true."""

    def __init__(self, path_prefix: str) -> None:
        self._path_prefix = path_prefix
        self._known: dict[str, LedgerRef] = {}

    async def find(self, name: str, reader: Reader) -> LedgerRef | None:
        """Return the ledger called ``name``, asking ``reader`` when it is not known yet."""
        known = self._known.get(name)
        if known is None and _LEDGER_NAME.fullmatch(name):
            ledger = await reader(lambda session: LedgerRepository(session).by_name(name))
            if ledger is not None:
                known = self._known[name] = LedgerRef(ledger.id, ledger.name, self._path_prefix)
        return known


class Services(Struct, frozen=True, kw_only=True):
    """The parts of a running service that handlers use. ``primary_reader`` never reads from a replica."""

    settings: Settings
    database: Database
    read_database: Database
    engine_database: Database
    reader: Reader
    primary_reader: Reader
    engine: TransferEngine
    sweeper: HoldSweeper
    ledgers: LedgerDirectory
    authenticator: Authenticator
    overviews: OverviewReader
    accounts: CoalescedReads[UUID, AccountDetails]
    transfers: CoalescedReads[UUID, Transfer]
    holds: CoalescedReads[UUID, Hold]


# Each of these depends on the one before it: Litestar resolves dependencies that do not in a task group, which costs
# more (110 µs) than everything else it does for a request.


async def provide_services(state: State) -> Services:
    """Return the parts that ``app`` made at start."""
    services: Services = state.services
    return services


async def provide_reader(services: NamedDependency[Services]) -> Reader:
    """Return what runs a read: every call is a session and a READ ONLY transaction of its own, retried."""
    return services.reader


async def provide_ledger(
    request: Request[Principal, Any, Any],
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger_name: FromPath[str],
) -> LedgerRef:
    """Return the ledger in the path. Raises ProblemError (ledger_not_found), also when the token is not for it."""
    return await find_ledger(services, reader, request.user, ledger_name)


async def find_ledger(services: Services, reader: Reader, principal: Principal, name: str) -> LedgerRef:
    """Return the ledger called ``name``. Raises ProblemError (ledger_not_found), also when the token is not for it.

    Nothing is looked up for a token that may not see the ledger: the time that it takes would tell whether it exists.
    """
    ledger = await services.ledgers.find(name, reader) if principal.sees(name) else None
    if ledger is None:
        hint = "" if _LEDGER_NAME.fullmatch(name) else f" A path names {LEDGER_NAME_WORDS}."
        raise ProblemError("ledger_not_found", f'There is no ledger "{shown(name)}" for this token.{hint}')
    return ledger
