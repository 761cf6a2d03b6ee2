"""What travels between a test and the test server: faults, the ledger of a test, and what was found in it.

Only types, so that the process of the tests loads nothing of the service.
"""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta, Struct

REPEATS_MAX = 10_000
SECONDS_MAX = 3_600.0
ADVANCE_SECONDS_MAX = 100 * 366 * 86_400.0

Requests = Literal["writes", "reads", "all"]
Times = Annotated[int, Meta(ge=1, le=REPEATS_MAX)]


class Scope(TypedDict, total=False):
    """Which requests a fault is for, and how many of them."""

    times: Times
    requests: Requests


class Fault(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag_field="fault"):
    """What is to happen to the next ``times`` requests to ``ledger``, or of the caller with ``token``: of those that
    change something (``writes``: POST and PATCH), of those that do not (``reads``), or of all.
    """

    ledger: str | None = None
    token: str | None = None
    times: Times = 1
    requests: Requests = "writes"


class CommitThenDrop(Fault, frozen=True, tag="commit_then_drop"):
    """The request is carried out, and the connection closed instead of the answer. Only a request that the service
    answers with success meets it: of any other, nothing was applied.
    """


class DropBefore(Fault, frozen=True, tag="drop_before"):
    """The connection is closed before the service sees the request: nothing is applied."""


class Unavailable(Fault, frozen=True, tag="unavailable"):
    """The answer is 503, the problem ``overloaded`` with Retry-After; nothing is applied."""


class Delay(Fault, frozen=True, tag="delay"):
    """The request is carried out, and its answer held back for ``seconds``."""

    seconds: Annotated[float, Meta(gt=0, le=SECONDS_MAX)]


class CutBody(Fault, frozen=True, tag="cut_body"):
    """The request is carried out, and the connection closed in the middle of the answer's body."""


class Decline(Fault, frozen=True, tag="decline"):
    """The rules reject the command with ``code``, whatever they would say by themselves. It is a decision as any other:
    stored under the key, in the ledger's history, and replayed for ever. Commands that cannot meet this rejection are
    decided as ever, and so are those in batches.
    """

    code: str


AnyFault = CommitThenDrop | DropBefore | Unavailable | Delay | CutBody | Decline


class FaultMet(Struct, kw_only=True, frozen=True):
    """A request that met a fault: ``status`` is what the service answered to it, whatever reached the caller; None
    where the service never saw it.
    """

    fault: str
    method: str
    path: str
    idempotency_key: str | None
    status: int | None


class FaultsView(Struct, frozen=True):
    """The faults that are still to come, and the requests that met one."""

    armed: list[AnyFault]
    met: list[FaultMet]


class LedgerRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Asks for a fresh ledger, with a name that begins with ``name``."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,29}$")] = "test"


class LedgerMade(Struct, frozen=True):
    """A fresh ledger, and the token of a client of its own, which sees no other ledger."""

    name: str
    client: str
    token: str


class AdvanceRequest(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Asks for ``seconds`` to pass for the holds of a ledger."""

    seconds: Annotated[float, Meta(gt=0, le=ADVANCE_SECONDS_MAX)]


class Expired(Struct, frozen=True):
    """The holds that expired meanwhile."""

    expired: list[str]


class Finding(Struct, frozen=True):
    """What is wrong with a ledger: the rule that is broken, by which row, and how."""

    rule: str
    id: str
    wrong: str


class Check(Struct, frozen=True):
    """What a check of a whole ledger found."""

    findings: list[Finding]


class Ready(Struct, frozen=True):
    """What a test server prints in one line once it serves."""

    url: str
    token: str
    admin_token: str
    ledger: str
    client: str
    control_url: str
