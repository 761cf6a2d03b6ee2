"""Verifying a ledger: every rule is asked of it, a slice at a time, in the order of the scopes.

A slice is small and says where the next one begins, so one ledger may be verified on one snapshot (``verify_ledger``)
or in many transactions, each with a snapshot of its own: a rule relates rows of one slice to what they refer to, and
what it refers to is read on the same snapshot.
"""

from collections.abc import AsyncIterator
from datetime import datetime

from msgspec import Struct

from service.audit.ledger_log import NO_KEYS
from service.audit.log_integrity import verify_tiles
from service.audit.log_keys import LogKeys
from service.domain.integrity import Finding, Place, Scope, Verification
from service.storage.clock import database_time
from service.storage.database import Session
from service.storage.errors import is_malformed, is_statement_timeout, reason
from service.storage.integrity import OPENINGS, RULES, Rule
from service.storage.repositories import Repositories
from service.storage.repositories.integrity import CHANGES_MAX, Slice

SCOPES = tuple(Scope)
ALL_RULES = (*RULES, *OPENINGS)
SLICE_ROWS_MAX = 500
_NEWEST_ROWS = 100
_OF_ALL = (Scope.LOG, Scope.LEDGER)
"""What is left out where only the newest rows are looked at."""


class Step(Struct, frozen=True):
    """What one slice gave: how many rows were looked at, what is wrong, which rules took too long, where to go on
    (None: at the end), how many entries were compared with the log, and whose cosignatures could not be verified.
    """

    row_count: int
    findings: list[Finding]
    unasked: list[str]
    next: Place | None
    entry_count: int = 0
    unknown_witnesses: frozenset[str] = frozenset()


async def verify_slice(
    session: Session,
    ledger_id: int,
    place: Place,
    *,
    since: datetime | None = None,
    rows_max: int = SLICE_ROWS_MAX,
    whole: bool = True,
    changes_max: int = CHANGES_MAX,
    may_skip: bool = False,
    keys: LogKeys = NO_KEYS,
) -> Step:
    """Ask the rules of the slice at ``place``, of up to ``rows_max`` rows, in the transaction of ``session``, which
    must see one snapshot. With ``since``, only of rows that were made or changed since then.

    Rules of a whole ledger are asked one a step, unless ``whole`` is False. So are those of an account with more than
    ``changes_max`` changes: what one transaction does stays small. A rule that takes longer than a statement may is
    left out if ``may_skip``, and otherwise the database's error is raised. A value that no rule can read is a finding,
    and keeps no other rule from being asked. The log is compared with its entries from its beginning, whatever
    ``since`` is, as a whole ledger's rules are; its checkpoints are verified by ``keys``.
    """
    if place.scope is Scope.LOG:
        return await _verify_log(session, ledger_id, place, keys)
    repository = Repositories(session).integrity
    await repository.plan_slices(slices=place.scope is not Scope.LEDGER)
    part = None
    if place.scope is not Scope.LEDGER:
        part = await repository.next_slice(
            place.scope, ledger_id, place.after, since=since, rows_max=rows_max, changes_max=changes_max
        )
    rules = _rules(place.scope)
    one_a_step = part is None or part.changes > changes_max
    if one_a_step:  # after an update there may be fewer rules than the place was made with
        rules = rules[place.rule : place.rule + 1]
    findings: list[Finding] = []
    unasked: list[str] = []
    for rule in rules:
        try:
            findings += await _ask(session, rule, ledger_id, part, since=since)
        except Exception as error:
            if not may_skip or not is_statement_timeout(error):
                raise
            unasked.append(rule.name)
    if one_a_step and place.rule + 1 < len(_rules(place.scope)):
        return Step(0, findings, unasked, Place(place.scope, place.after, place.rule + 1))
    return Step(0 if part is None else part.rows, findings, unasked, _following(place, part, whole=whole))


async def _ask(
    session: Session, rule: Rule, ledger_id: int, part: Slice | None, *, since: datetime | None
) -> list[Finding]:
    """Return what breaks ``rule`` in ``part``, in a savepoint: its failure leaves the transaction as it was. Raises the
    database's errors, but for a value that it cannot read as what the service writes there: that is a finding.
    """
    try:
        async with session.begin_nested():
            return await Repositories(session).integrity.findings(rule, ledger_id, part, since=since)
    except Exception as error:
        if not is_malformed(error):
            raise
        why = reason(error)
    where = "of the ledger" if part is None else f"behind {' '.join(part.after)} and up to {' '.join(part.to)}"
    row = "" if part is None else " ".join(part.to)
    return [Finding(rule.name, rule.scope, row, f"a value in the rows {where} cannot be read: {why}")]


def _following(place: Place, part: Slice | None, *, whole: bool) -> Place | None:
    """Return where to go on after all rules of ``part``, the slice at ``place`` (None: the whole ledger)."""
    if part is None:
        return None
    if not part.complete:
        return Place(place.scope, part.to)
    scope = SCOPES[SCOPES.index(place.scope) + 1]
    return None if scope in _OF_ALL and not whole else Place(scope, scope.first)


async def _verify_log(session: Session, ledger_id: int, place: Place, keys: LogKeys) -> Step:
    """Compare the next tiles of the log with the entries that they are of."""
    await Repositories(session).integrity.plan_slices(slices=True)
    seen = await verify_tiles(session, ledger_id, place.after, keys)
    following = Place(Scope.LOG, seen.next) if seen.next else Place(Scope.LEDGER, Scope.LEDGER.first)
    return Step(0, seen.findings, [], following, seen.entry_count, seen.unknown_witnesses)


async def verify_ledger(
    session: Session,
    ledger_id: int,
    *,
    since: datetime | None = None,
    whole: bool = True,
    keys: LogKeys = NO_KEYS,
) -> AsyncIterator[Step]:
    """Verify a ledger on the snapshot of ``session``; yield what each slice gave. Memory is that of one slice."""
    place: Place | None = Place()
    while place is not None:
        step = await verify_slice(session, ledger_id, place, since=since, whole=whole, keys=keys)
        yield step
        place = step.next


def _rules(scope: Scope) -> list[Rule]:
    return [rule for rule in ALL_RULES if rule.scope is scope]


class Look(Struct, frozen=True):
    """What is known of a ledger at ``as_of``: by its passes, and by a look at its newest ``row_count`` rows and at the
    sums of its accounts (``money_conserved`` is None for too many of them).
    """

    as_of: datetime
    verification: Verification
    row_count: int
    findings: list[Finding]
    money_conserved: bool | None


async def look_at_integrity(session: Session, ledger_id: int) -> Look:
    """Return what is known of a ledger, and what its newest rows show, on the one snapshot of ``session``.

    What it costs does not grow with the ledger.
    """
    repositories = Repositories(session)
    known = await repositories.verifications.of(ledger_id)
    totals = await repositories.overview.totals(ledger_id)
    findings, row_count = known.findings, 0
    await repositories.integrity.plan_slices(slices=True)
    for scope in (Scope.TRANSFERS, Scope.HOLDS, Scope.HISTORY):
        newest = await repositories.integrity.newest_slice(scope, ledger_id, rows_max=_NEWEST_ROWS)
        row_count += newest.rows
        for rule in _rules(scope):
            findings += await _ask(session, rule, ledger_id, newest, since=None)
    return Look(
        as_of=await database_time(session),
        verification=known,
        row_count=row_count,
        findings=list(dict.fromkeys(findings)),
        money_conserved=None
        if totals is None
        else all(of_currency.debits_posted == of_currency.credits_posted for of_currency in totals),
    )
