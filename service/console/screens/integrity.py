"""Whether a ledger is sound: each rule, what the verifier found, and the log's checkpoint with who cosigned it."""

from collections import Counter

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Template
from msgspec import Struct

from service.audit.integrity import ALL_RULES
from service.console.screens.ledgers import latest_checkpoint
from service.console.visits import Visit
from service.wire.integrity import IntegrityView


class AskedRule(Struct, frozen=True):
    """A rule, and what the last pass that ended says of it."""

    name: str
    proves: str
    result: str
    finding_count: int


@get("/ledgers/{ledger_name:str}/integrity")
async def show_integrity(visit: NamedDependency[Visit], ledger_name: FromPath[str]) -> Template:
    """Show each rule with its last result, and the log's latest checkpoint."""
    integrity = await visit.api.read(IntegrityView, "ledgers", ledger_name, "integrity")
    checkpoint = await latest_checkpoint(visit, ledger_name)
    return visit.page(
        "integrity.html",
        ledger=ledger_name,
        section="integrity",
        integrity=integrity,
        rules=_rules(integrity),
        checkpoint=checkpoint,
        signers=[] if checkpoint is None else _signers(checkpoint["note"]),
    )


def _rules(integrity: IntegrityView) -> list[AskedRule]:
    """Return the rules, each with its result: those that no rule of ours names are the log's."""
    counts = Counter(finding.rule for finding in integrity.findings)
    complete = integrity.complete
    # Of a pass, the first 100 findings are shown: behind more of them, a rule without one may be broken all the same.
    shown = complete is not None and complete.finding_count <= len(integrity.findings)
    unasked = frozenset(() if complete is None else complete.unasked_rules)
    rules = []
    for rule in ALL_RULES:
        count = counts.pop(rule.name, 0)
        if count:
            result = "broken"
        elif complete is None:
            result = "not asked yet"
        elif rule.name in unasked:
            result = "asked in part"
        else:
            result = "holds" if shown else "see funds verify"
        rules.append(AskedRule(rule.name, rule.proves, result, count))
    return rules + [AskedRule(name, "Of the log.", "broken", count) for name, count in counts.items()]


def _signers(note: str) -> list[str]:
    """Return who signed a checkpoint: the log itself first, then the witnesses."""
    lines = note.partition("\n\n")[2].splitlines()
    return [line.split(" ")[1] for line in lines if line.startswith("\u2014 ")]
