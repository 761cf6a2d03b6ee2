"""Whether what stands under each key is what its callers were told."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from funds_testing.histories.calls import FENCE, WRITES, Call, Ending
from funds_testing.histories.findings import Finding, Kind, finding
from funds_testing.histories.lines import Fact
from funds_testing.histories.standing import Decision, Hold, Standing, Transfer

Key = tuple[str, str]

_FACTS = (
    "debit_account_id", "credit_account_id", "amount", "currency", "debit_account_version", "credit_account_version",
    "debit_balance_after", "credit_balance_after", "hold_id", "reverses_id",
)  # fmt: skip
_ENDS = ("closed_debit_account_version", "closed_credit_account_version", "captured_amount", "status")
_ASKED = ("debit_account_id", "credit_account_id", "currency", "hold_id")


def by_key(calls: Sequence[Call]) -> dict[Key, list[Call]]:
    """Return the calls under each key, by ledger and key."""
    found: defaultdict[Key, list[Call]] = defaultdict(list)
    for call in calls:
        if call.key is not None:
            found[call.ledger, call.key].append(call)
    return dict(found)


class Keys:
    """The calls, facts and decisions of a history by key."""

    def __init__(self, calls: Mapping[Key, list[Call]], standing: Standing) -> None:
        self.calls = calls
        self.facts: defaultdict[Key, list[Fact]] = defaultdict(list)
        facts: list[Fact] = [*standing.transfers, *standing.holds]
        for fact in facts:
            self.facts[fact.ledger, fact.key].append(fact)
        self.by_id: dict[str, Fact] = {fact.id: fact for facts in self.facts.values() for fact in facts}
        self.voids: defaultdict[str, list[Call]] = defaultdict(list)
        for call in (call for under_key in calls.values() for call in under_key if call.operation == "void_hold"):
            self.voids[call.terms["hold_id"]].append(call)
        self.decisions: dict[Key, Decision] = {(one.ledger, one.key): one for one in standing.decisions}

    def check(self) -> Iterator[Finding]:
        """Every rule that is about one key alone."""
        for key, facts in self.facts.items():
            yield from self._asked(key, facts)
        for key, decision in self.decisions.items():
            if decision.operation in WRITES and key not in self.calls:
                yield finding(Kind.UNASKED, f"{decision}")
        for key, calls in self.calls.items():
            yield from self._told_alike(calls)
            yield from self._there(key, calls)
            yield from self._nothing_there(key, calls)

    def _asked(self, key: Key, facts: list[Fact]) -> Iterator[Finding]:
        """What stands was asked for, once, and as it is."""
        asked = [call for call in self.calls.get(key, []) if call.operation in WRITES]
        if len(facts) > 1:
            yield finding(Kind.DOUBLED, f"under {key[1]} stand {', '.join(fact.id for fact in facts)}", asked)
        for fact in facts:
            if not any(_is_what_was_asked(call, fact) for call in asked):
                yield finding(Kind.UNASKED, f"{fact}", asked)

    def _told_alike(self, calls: list[Call]) -> Iterator[Finding]:
        """Whoever was told what stands under a key was told the same; and all but one that it is a replay."""
        decided = [call for call in calls if call.decided]
        for call in decided[1:]:
            if (call.ending, call.told) != (decided[0].ending, decided[0].told):
                yield finding(Kind.DIFFERING_REPLAY, f"two answers under {call.key}", (decided[0], call))
        first = [call for call in decided if not call.replayed]
        if len(first) > 1:
            yield finding(Kind.DOUBLED, f"{calls[0].key} was decided {len(first)} times", first)

    def _there(self, key: Key, calls: list[Call]) -> Iterator[Finding]:
        """What was acknowledged stands, as it was told."""
        decision = self.decisions.get(key)
        for call in calls:
            if call.ending is Ending.APPLIED:
                wrong = self._differs(call) if call.operation in WRITES else ""
                if decision is None or decision.outcome != "applied":
                    wrong = wrong or f"its decision is {decision and decision.outcome}"
                if wrong:
                    yield finding(Kind.LOST, f"what was applied under {key[1]}: {wrong}", (call,))
            elif call.ending is Ending.REJECTED and decision is None:
                yield finding(Kind.LOST, f"the rejection under {key[1]} is not remembered", (call,))
            elif call.ending is Ending.FENCED and (decision is None or decision.outcome != "fenced"):
                yield finding(Kind.LOST, f"the fence of {key[1]} is not remembered", (call,))
            elif _differs_from_what_was_told(call, decision):
                yield finding(Kind.LOST, f"what was told of {key[1]}: {decision}", (call,))

    def _nothing_there(self, key: Key, calls: list[Call]) -> Iterator[Finding]:
        """Nothing stands under a key of which it was said, and of which nothing else may have put it there."""
        facts, decision = self.facts.get(key, []), self.decisions.get(key)
        applied = bool(facts) or (decision is not None and decision.outcome == "applied")
        if not applied:
            return
        what = f"under {key[1]} stands {facts[0] if facts else decision}"
        told = [call for call in calls if call.ending in {Ending.REJECTED, Ending.FENCED}]
        if told:
            yield finding(Kind.REJECTED, what, told)
        writes = [call for call in calls if call.operation in WRITES]
        if writes and all(call.ending is Ending.NOT_APPLIED for call in writes):
            yield finding(Kind.NOT_APPLIED, what, writes)

    def _differs(self, call: Call) -> str:
        """How what stands differs from what ``call`` was told; nothing where it does not."""
        fact = self.by_id.get(call.told.get("id", ""))
        if fact is None:
            return f"{call.told.get('id')} is not there"
        names = [*_FACTS, *(_ENDS if call.operation == "void_hold" else ())]
        for name in names:
            if name in call.told and hasattr(fact, name) and call.told[name] != getattr(fact, name):
                return f"{name} of {fact.id} is {getattr(fact, name)}, and was told to be {call.told[name]}"
        if isinstance(fact, Transfer) and fact.key != call.key:
            return f"{fact.id} stands under {fact.key}"
        return ""


def _differs_from_what_was_told(call: Call, decision: Decision | None) -> bool:
    """Whether a look-up of a key told of a decision, and another one stands, or none."""
    told = call.told.get("outcome") if call.operation in {FENCE, "read_key"} else None
    return told in {"applied", "rejected"} and (decision is None or decision.outcome != told)


def _is_what_was_asked(call: Call, fact: Fact) -> bool:
    """Whether ``fact`` is what ``call`` asked for, as far as its terms say."""
    if isinstance(fact, Hold) is not (call.operation == "open_hold"):
        return False
    if any(name in call.terms and call.terms[name] != getattr(fact, name, None) for name in _ASKED):
        return False
    if "transfer_id" in call.terms and call.terms["transfer_id"] != getattr(fact, "reverses_id", None):
        return False
    return _amount_is(call.terms.get("amount"), fact.amount)


def _amount_is(asked: Any, amount: int) -> bool:
    if isinstance(asked, Mapping):
        return 0 < amount <= int(asked["at_most"])
    return asked is None or bool(asked == amount)
