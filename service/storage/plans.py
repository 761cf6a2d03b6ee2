"""By which plans PostgreSQL carries out the statements of a transaction: as it sees fit, or by plans that it keeps."""

import time
from enum import Enum

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine

PLAN_SECONDS_MAX = 5.0
"""How long a kept plan is kept. One for a small table is wrong for the same table some thousand rows later, and the
server itself notices that only after a minute.
"""

_OPTION = "funds_plans"


class Plans(Enum):
    """The plans of a transaction, as what is sent with its BEGIN; in the same message, so they cost no round trip.

    As long as PostgreSQL thinks that it gains more than planning costs, it plans a statement for the parameters of each
    time. What searches along indexes and adds up what it finds has one good plan for all of them, and planning such a
    statement takes several times as long as to carry it out. A setting of the transaction ends with it, so a pool
    serves both, and so does a pooler between.
    """

    CHOSEN = ""
    """As PostgreSQL sees fit: for what reads as much as its parameters say."""
    KEPT = "SET LOCAL plan_cache_mode = force_generic_plan"
    """One plan for all parameters, which a connection makes and keeps for PLAN_SECONDS_MAX. As CHOSEN where tables may
    be distributed: which node has the ledger is known with the parameters only (``connecting``).
    """

    @property
    def options(self) -> dict[str, object]:
        """The execution options that say so."""
        return {_OPTION: self.value}


_DROP = "DISCARD PLANS"


def follow(engine: AsyncEngine) -> None:
    """Have the transactions of ``engine``'s connections begin with what their execution options say."""
    event.listen(engine.sync_engine, "begin", _tell)


def _tell(connection: Connection) -> None:
    """Tell the driver's connection how its next transaction begins. SQLAlchemy sends BEGIN later, with a statement."""
    driver = connection.connection.driver_connection
    assert driver is not None, "a connection that begins a transaction has one"
    plans = Plans(connection.get_execution_options().get(_OPTION, Plans.CHOSEN.value))
    if driver.is_distributed:
        plans = Plans.CHOSEN
    driver.beginning = plans.value
    now = time.monotonic()
    if plans is Plans.KEPT and now - connection.info.setdefault("kept_since", now) > PLAN_SECONDS_MAX:
        connection.info["kept_since"] = now
        driver.beginning += f";{_DROP}"
