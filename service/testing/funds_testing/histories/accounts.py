"""Whether what stands is sound by itself: sums, versions, bounds."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from funds_testing.histories.calls import Call
from funds_testing.histories.findings import Finding, Kind, finding
from funds_testing.histories.lines import Fact, Line, Lines
from funds_testing.histories.standing import Account, Standing

CallsByKey = Mapping[tuple[str, str], list[Call]]


def sums(standing: Standing, lines: Mapping[str, Lines], calls: CallsByKey) -> Iterator[Finding]:
    """Debits are credits; counters, and every balance on the way, are the sums of what was moved and held."""
    posted: defaultdict[tuple[str, str], int] = defaultdict(int)
    held: defaultdict[tuple[str, str], int] = defaultdict(int)
    for account in standing.accounts:
        posted[account.ledger, account.currency] += account.credits_posted - account.debits_posted
        held[account.ledger, account.currency] += account.credits_held - account.debits_held
    for (ledger, currency), more in posted.items():
        if more or held[ledger, currency]:
            told = f"{more} more credits than debits in {currency}, and {held[ledger, currency]} more held"
            yield finding(Kind.SUM, f"ledger {ledger} has {told}")
    for one in lines.values():
        counters, last = _counters(one.account), one.lines[-1].counters if one.lines else (0, 0, 0, 0)
        if counters != last:
            said = f"account {one.account.id} has counters {counters}, and what moved and is held makes {last}"
            yield finding(Kind.SUM, said, _latest(one, calls))
        for line in one.lines:
            if line.change.balance_after not in {None, line.balance}:
                said = f"{_named(line.change.fact)} says {line.change.balance_after} is left on {one.account.id}"
                yield finding(Kind.SUM, f"{said}, and it is {line.balance}", _of(line.change.fact, calls))


def versions(lines: Mapping[str, Lines], calls: CallsByKey) -> Iterator[Finding]:
    """The versions of an account run 1, 2, 3, …, and each is one change."""
    for one in lines.values():
        expected = 1
        for change in one.changes:
            if change.version != expected:
                what = "is missing" if change.version > expected else "is there twice"
                number = min(change.version, expected)
                yield finding(
                    Kind.VERSION_GAP,
                    f"version {number} of account {one.account.id} {what} at {_named(change.fact)}",
                    _of(change.fact, calls),
                )
            expected = change.version + 1
        if one.account.version != expected - 1:
            said = f"account {one.account.id} is at version {one.account.version}, its changes at {expected - 1}"
            yield finding(Kind.VERSION_GAP, said, _latest(one, calls))


def bounds(lines: Mapping[str, Lines], calls: CallsByKey) -> Iterator[Finding]:
    """No account was outside its bounds after any change; or, where they were revised, is so in the end."""
    for one in lines.values():
        asked = one.lines if one.account.bounds_were_constant else one.lines[-1:]
        for line in asked:
            wrong = _out_of_bounds(one.account, line)
            if wrong:
                said = f"account {one.account.id} has {wrong} after {_named(line.change.fact)}"
                yield finding(Kind.BELOW_FLOOR, said, _of(line.change.fact, calls))


def ends(standing: Standing, calls: CallsByKey) -> Iterator[Finding]:
    """Of a hold as much is captured as it says, and no more than it holds; no more is reversed than was moved."""
    captured: defaultdict[str, int] = defaultdict(int)
    reversed_: defaultdict[str, int] = defaultdict(int)
    for transfer in standing.transfers:
        captured[transfer.hold_id or ""] += transfer.amount
        reversed_[transfer.reverses_id or ""] += transfer.amount
    for hold in standing.holds:
        if captured[hold.id] != hold.captured_amount or captured[hold.id] > hold.amount:
            said = f"of hold {hold.id} over {hold.amount}, {captured[hold.id]} is captured"
            yield finding(Kind.BELOW_FLOOR, f"{said}, and it says {hold.captured_amount}", _of(hold, calls))
    for transfer in standing.transfers:
        if reversed_[transfer.id] > transfer.amount:
            said = f"of transfer {transfer.id} over {transfer.amount}, {reversed_[transfer.id]} is reversed"
            yield finding(Kind.BELOW_FLOOR, said, _of(transfer, calls))


def _counters(account: Account) -> tuple[int, int, int, int]:
    return account.debits_posted, account.credits_posted, account.debits_held, account.credits_held


def _out_of_bounds(account: Account, line: Line) -> str:
    if account.minimum_balance is not None and line.available < account.minimum_balance:
        return f"{line.available} available, below its minimum of {account.minimum_balance},"
    if account.maximum_balance is not None and line.balance > account.maximum_balance:
        return f"a balance of {line.balance}, above its maximum of {account.maximum_balance},"
    return ""


def _latest(lines: Lines, calls: CallsByKey) -> list[Call]:
    return _of(lines.lines[-1].change.fact, calls) if lines.lines else []


def _of(fact: Fact, calls: CallsByKey) -> list[Call]:
    return calls.get((fact.ledger, fact.key), [])


def _named(fact: Fact) -> str:
    return f"{type(fact).__name__.lower()} {fact.id}"
