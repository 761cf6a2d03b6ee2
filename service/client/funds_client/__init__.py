"""Calls the funds transfer service so that no time-out, crash or retry moves money twice."""

from .batches import ItemResult, results_of
from .blocking import BlockingFundsClient
from .client import FundsClient
from .errors import (
    AnswerLostError,
    FundsError,
    IntentError,
    OtherProblemError,
    OutcomeUnknownError,
    ProblemError,
    ReceiptError,
    RefusedError,
    RejectedError,
    UnreachableError,
)
from .feed import BlockingConsumer, Consumer, FeedEvent, FeedPage, OtherEvent
from .intents import Intent
from .ledger_intents import batch_item
from .ledger_reads import AccountState
from .outcomes import KeyOutcome
from .settings import ClientSettings
from .wire.batches import BatchItem, HoldTerms
from .wire.transfers import AtMost
from .wire.views import AccountView, HoldView, TransferView

__all__ = [
    "AccountState",
    "AccountView",
    "AnswerLostError",
    "AtMost",
    "BatchItem",
    "BlockingConsumer",
    "BlockingFundsClient",
    "ClientSettings",
    "Consumer",
    "FeedEvent",
    "FeedPage",
    "FundsClient",
    "FundsError",
    "HoldTerms",
    "HoldView",
    "Intent",
    "IntentError",
    "ItemResult",
    "KeyOutcome",
    "OtherEvent",
    "OtherProblemError",
    "OutcomeUnknownError",
    "ProblemError",
    "ReceiptError",
    "RefusedError",
    "RejectedError",
    "TransferView",
    "UnreachableError",
    "batch_item",
    "results_of",
]
