"""Whether a ledger is sound, as far as verification knows."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct


class Finding(Struct, frozen=True, kw_only=True):
    """One row that breaks a rule that every sound ledger keeps."""

    rule: str
    table: str
    id: str
    wrong: Annotated[str, Meta(description="What is wrong with the row, in a sentence.")]


class PassView(Struct, frozen=True, kw_only=True):
    """All rules, asked of the ledger from its first row to its last."""

    started_at: datetime
    ended_at: Annotated[datetime | None, Meta(description="Null for the pass that is under way.")]
    row_count: Annotated[int, Meta(description="How many rows were looked at.")]
    entry_count: Annotated[
        int,
        Meta(description="How many entries were compared with the log: in the end, up to a checkpoint of that size."),
    ]
    finding_count: Annotated[int, Meta(description="How many findings there were; some rows break several rules.")]
    unasked_rules: Annotated[
        list[str], Meta(description="Rules that took too long to be asked somewhere; `funds verify` asks them.")
    ]
    unknown_witnesses: Annotated[
        list[str],
        Meta(
            description="Witnesses that the settings do not name: what is stored as cosigned by them was not verified."
        ),
    ]


class IntegrityView(Struct, frozen=True, kw_only=True):
    """What the last pass of the verifier found, what the one under way found so far, and what was looked at now: the
    newest transfers and holds, and the sums of all accounts.
    """

    ledger: Annotated[str | None, Meta(description="Null for the installation itself: its ledgers and tokens.")]
    sound: Annotated[
        bool | None, Meta(description="False when there are findings; null when the ledger was never verified whole.")
    ]
    as_of: Annotated[datetime, Meta(description="When this answer was made, by the database's clock.")]
    complete: Annotated[PassView | None, Meta(description="The last pass that ended; null when none has yet.")]
    running: PassView | None
    findings: Annotated[list[Finding], Meta(description="What was found, each once: the first 100 of each pass.")]
    looked_at_now: Annotated[int, Meta(description="How many of the newest rows were verified for this answer.")]
    money_conserved: Annotated[
        bool | None,
        Meta(
            description="Whether debits equal credits in every currency now; null for a ledger of 10,000 accounts or"
            " more, of which the passes tell."
        ),
    ]
