"""What a decision gave, as it stands in the table ``decisions``.

A transfer or a hold is named by its id and read from its own table. Accounts and ledgers keep the state that was
answered, in the column ``resource``: an account changes later.
"""

from typing import Any

import msgspec
from msgspec import structs

from service.domain.accounts import AccountDetails
from service.domain.decisions import FENCED, Result
from service.domain.holds import Hold
from service.domain.ledgers import Ledger
from service.domain.operations import Operation
from service.domain.periods import Closing
from service.domain.transfers import Transfer
from service.storage.stored_rejections import read_rejection

HOLD_OPERATIONS: frozenset[Operation] = frozenset({"open_hold", "void_hold"})
"""The operations whose decisions name a hold. The others of commands name a transfer."""

# The name under which the first accounts were stored, for ever.
_METADATA = "metadata_"


def stored_account(ledger_id: int, account: AccountDetails) -> dict[str, Any]:
    """Return what is stored of ``account`` in the column ``resource``."""
    state = structs.asdict(account)
    metadata = state.pop("metadata")
    return {"ledger_id": ledger_id, **state, _METADATA: metadata}


def stored_ledger(ledger: Ledger) -> dict[str, Any]:
    """Return what is stored of ``ledger`` in the column ``resource``: no id, which is given after the decision."""
    return {"name": ledger.name, "description": ledger.description, "created_at": ledger.created_at}


def read_result(
    operation: Operation,
    outcome: str,
    *,
    resource: dict[str, Any] | None,
    problem: dict[str, Any] | None,
    made: Transfer | Hold | None,
) -> Result:
    """Return what a stored decision gave; ``made`` is the transfer or the hold that it names, as it is now."""
    if problem is not None:
        return read_rejection(problem)
    if outcome == "fenced":
        return FENCED
    if operation == "create_ledger":
        return msgspec.convert(resource, Ledger)
    if operation == "close_period":
        return msgspec.convert(resource, Closing)
    if operation in {"create_account", "revise_account"}:
        state = resource or {}
        return msgspec.convert({**state, "metadata": state.get(_METADATA)}, AccountDetails)
    assert made is not None, "what was applied made something"
    return made.as_opened() if isinstance(made, Hold) and operation == "open_hold" else made
