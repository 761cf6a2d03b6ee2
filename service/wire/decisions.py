"""Decisions against commands, as a list shows them."""

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

from .problems import StoredProblem
from .times import Time

DecisionOutcome = Literal["rejected", "fenced"]


class DecisionView(Struct, kw_only=True, frozen=True):
    """A refusal as it was answered, with what had been asked for. `problem` holds the rule and its numbers: what the
    account had, held and needed.
    """

    client: Annotated[str, Meta(description="Whose request it was.")]
    idempotency_key: str
    operation: Annotated[str, Meta(examples=["post_transfer"])]
    outcome: DecisionOutcome
    debit_account_id: UUID | None
    credit_account_id: UUID | None
    terms: Annotated[dict[str, Any] | None, Meta(description="What had been asked for.")]
    problem: StoredProblem | None
    decided_at: Time
