"""Whether what stands, and what was read, agrees with the time at which callers asked and were told.

Of each fact it is known when it can have happened: not before the first call that may have made it was sent, and not
after the first answer that told of it. Nothing else is assumed about clocks.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from funds_testing.histories.calls import READS, WRITES, Call, Ending
from funds_testing.histories.findings import Finding, Kind, finding
from funds_testing.histories.keys import Keys
from funds_testing.histories.lines import Change, Fact, Lines
from funds_testing.histories.standing import Hold, Transfer

_MAY_HAVE_MADE_IT = frozenset({Ending.APPLIED, Ending.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Window:
    """When a fact can have happened: between ``asked`` at the earliest and ``told`` at the latest."""

    fact: Fact | None
    earliest: float = -math.inf
    latest: float = math.inf
    asked: Call | None = None
    told: Call | None = None


def windows(keys: Keys) -> dict[str, Window]:
    """Return when each fact can have happened, by its identifier."""
    return {fact.id: _window(fact, keys.calls.get(key, ())) for key, facts in keys.facts.items() for fact in facts}


def _window(fact: Fact | None, calls: Iterable[Call]) -> Window:
    writes = [call for call in calls if call.operation in WRITES]
    askers = [call for call in writes if call.ending in _MAY_HAVE_MADE_IT]
    tellers = [call for call in writes if call.ending is Ending.APPLIED and call.completed is not None]
    asked = min(askers, key=lambda call: call.invoked, default=None)
    told = min(tellers, key=lambda call: call.completed or math.inf, default=None)
    return Window(
        fact,
        -math.inf if asked is None else asked.invoked,
        math.inf if told is None or told.completed is None else told.completed,
        asked,
        told,
    )


def order(keys: Keys, found: Mapping[str, Window]) -> Iterator[Finding]:
    """What was acknowledged before something else was asked for stands before it: by its identifier, in its ledger."""
    by_ledger: defaultdict[str, list[Window]] = defaultdict(list)
    for window in found.values():
        if window.fact is not None:
            by_ledger[window.fact.ledger].append(window)
    for facts in by_ledger.values():
        facts.sort(key=lambda window: window.fact.id if window.fact else "")
        soonest = Window(None)
        for window in reversed(facts):
            if soonest.latest < window.earliest:
                yield _out_of_order(keys, soonest, window)
            if window.latest < soonest.latest:
                soonest = window


def _out_of_order(keys: Keys, before: Window, after: Window) -> Finding:
    """``before`` was told before ``after`` was asked for, and stands behind it."""
    fact, later = after.fact, before.fact
    assert fact is not None
    assert later is not None
    calls = keys.calls.get((fact.ledger, fact.key), [])
    shown = [call for call in (before.told, after.asked) if call is not None]
    # It was made by an earlier call under its key: one that was said to have done nothing.
    denied = [call for call in calls if call.ending is Ending.NOT_APPLIED and call.invoked < before.latest]
    if denied:
        said = f"{fact.id} stands before {later.id}, which was told before {fact.key} was sent again"
        return finding(Kind.NOT_APPLIED, said, (*denied, *shown))
    return finding(Kind.ORDER, f"{later.id} was told before {fact.id} was asked for, and stands behind it", shown)


def reads(
    keys: Keys, calls: Sequence[Call], lines: Mapping[str, Lines], found: Mapping[str, Window]
) -> Iterator[Finding]:
    """What was read was so, and held everything that had been acknowledged before."""
    seen = {account_id: _Seen(keys, one, found) for account_id, one in lines.items()}
    for call in calls:
        if call.operation not in READS or call.completed is None:
            continue
        if call.operation == "read_account" and "version" in call.told:
            account = seen.get(call.terms["account_id"])
            if account is not None:
                yield from account.check(call) if call.ending is Ending.SEEN else account.stale(call)
        elif call.operation == "read_transfer":
            yield from _transfer_read(call, keys, found)
        elif call.operation == "read_key" and call.ending is Ending.SEEN:
            yield from _key_read(call, keys)


class _Seen:
    """What reads of one account can have seen, and when."""

    def __init__(self, keys: Keys, lines: Lines, found: Mapping[str, Window]) -> None:
        self._lines = lines
        self._windows = [_of_change(keys, change, found) for change in lines.changes]
        # The latest time at which the first changes were asked for, and the earliest at which the others were told.
        self._asked = list(accumulate(self._windows, _asked_last))
        told = accumulate(reversed(self._windows), _told_first)
        self._told = [*reversed(list(told)), Window(None)]

    def check(self, call: Call) -> Iterator[Finding]:
        version, told = call.told["version"], call.told
        if not 0 <= version <= len(self._windows):
            yield finding(Kind.UNTRUE_READ, f"account {told['id']} never had version {version}", (call,))
            return
        counters = (told["debits_posted"], told["credits_posted"], told["debits_held"], told["credits_held"])
        was = self._lines.lines[version - 1].counters if version else (0, 0, 0, 0)
        if counters != was:
            said = f"account {told['id']} had counters {was} at version {version}, and was read with {counters}"
            yield finding(Kind.UNTRUE_READ, said, (call,))
        if version and call.completed is not None and self._asked[version - 1].earliest > call.completed:
            asked = self._asked[version - 1].asked
            said = f"account {told['id']} was read with what was asked for afterwards"
            yield finding(Kind.UNTRUE_READ, said, [one for one in (call, asked) if one])
        yield from self.stale(call)

    def stale(self, call: Call) -> Iterator[Finding]:
        """It was read without what was told before, or below the version that was asked for; or told to be so."""
        version, name = call.told["version"], call.terms["account_id"]
        missing = self._told[version].told
        if missing is not None and self._told[version].latest < call.invoked and not call.as_of:
            said = f"account {name} was read at version {version}, after {missing.told.get('id')} had been told"
            yield finding(Kind.STALE_READ, said, (missing, call))
        elif call.ending is Ending.SEEN and version < (call.terms.get("min_version") or 0):
            said = f"version {call.terms['min_version']} of account {name} was asked for, and {version} read"
            yield finding(Kind.STALE_READ, said, (call,))


def _asked_last(one: Window, other: Window) -> Window:
    return other if other.earliest > one.earliest else one


def _told_first(one: Window, other: Window) -> Window:
    return other if other.latest < one.latest else one


def _of_change(keys: Keys, change: Change, found: Mapping[str, Window]) -> Window:
    """When a change can have happened. The end of a hold is asked for under keys of its own, or by nobody."""
    if not change.ends:
        return found[change.fact.id]
    voided = isinstance(change.fact, Hold) and change.fact.status == "voided"
    return _window(None, keys.voids[change.fact.id] if voided else ())


def _transfer_read(call: Call, keys: Keys, found: Mapping[str, Window]) -> Iterator[Finding]:
    """A transfer is found from when it was told; on a replica, too: what it does not know, the primary is asked."""
    fact = keys.by_id.get(call.terms["transfer_id"])
    if not isinstance(fact, Transfer):
        if call.ending is Ending.SEEN:
            yield finding(Kind.LOST, f"{call.terms['transfer_id']} was read, and is not there", (call,))
        return
    window = found[fact.id]
    if call.ending is Ending.MISSING and window.told is not None and window.latest < call.invoked:
        yield finding(Kind.STALE_READ, f"{fact.id} was not found after it had been told", (window.told, call))


def _key_read(call: Call, keys: Keys) -> Iterator[Finding]:
    """What is told of a key: it was decided after it was asked for, and before anybody was told."""
    assert call.completed is not None
    calls = [one for one in keys.calls.get((call.ledger, call.key or ""), []) if one.operation in WRITES]
    if call.told.get("outcome") == "never_seen":
        before = [one for one in calls if one.decided and one.completed is not None and one.completed < call.invoked]
        if before:
            yield finding(Kind.STALE_READ, f"{call.key} was never seen after it had been decided", (before[0], call))
    elif call.told.get("outcome") in {"applied", "rejected"}:
        asked = [one for one in calls if one.invoked <= call.completed]
        if all(one.ending is Ending.NOT_APPLIED for one in asked):
            said = f"{call.key} was seen to be {call.told['outcome']} when nothing was on its way"
            yield finding(Kind.NOT_APPLIED if asked else Kind.UNTRUE_READ, said, (*asked, call))
