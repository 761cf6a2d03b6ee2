"""Requests of a transaction of their own are decided once under their key, as the commands of a batch are."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from service.domain.accounts import AccountDetails
from service.domain.checks import check_clock
from service.domain.decisions import Answer, Decision, Key, Result
from service.domain.history import request_rejected
from service.domain.idempotency import replay
from service.domain.ledgers import Ledger
from service.domain.order import Moment
from service.domain.periods import Closing
from service.domain.policy import Policy
from service.domain.rejections import ClockBehind, Rejection
from service.posting.heads import lock_head, new_identifier, tell_clock_behind
from service.storage import constraints
from service.storage.database import Session
from service.storage.errors import violated_constraint
from service.storage.repositories import Repositories

M = TypeVar("M", bound=AccountDetails | Ledger | Closing)


async def decided_once(
    session: Session, policy: Policy, key: Key, made: type[M], decide: Callable[[Moment], Awaitable[M | Rejection]]
) -> Answer[M | Rejection]:
    """Answer the request of ``key``, which makes or changes one ``made``: from the decision that stands under the key,
    or by ``decide``, which adds one. The head of the ledger is locked before the decision is looked for, and moved to
    the place of what ``decide`` did.

    Rejected with clock_behind, which is not remembered, where the head lies too far ahead of the clock. ``decide`` runs
    in a savepoint. A concurrent duplicate that takes the key first is waited for where the decision is added; what was
    decided here is taken back, and the other's decision replayed.
    """
    moment = await lock_head(session, key.ledger_id, policy)
    answer = await _replayed(session, key, made)
    if answer is not None:
        return answer
    behind = check_clock(moment)
    if behind is not None:
        tell_clock_behind(key.ledger_id, behind)
        return Answer(behind)
    try:
        async with session.begin_nested():
            result = await decide(moment)
            await Repositories(session).heads.advance(key.ledger_id, moment.place)
            return Answer(result)
    except Exception as error:
        if violated_constraint(error) != constraints.PK_DECISIONS:
            raise
        answer = await _replayed(session, key, made)
        if answer is None:
            raise
        return answer


async def insert_with_decision(
    session: Session,
    key: Key,
    moment: Moment,
    built: M | Rejection,
    insert: Callable[[M], Awaitable[M]],
    violations: Mapping[str, Rejection],
) -> M | Rejection:
    """Insert what was ``built`` at ``moment``, and its decision, in a savepoint; or add the decision that rejects it.

    ``violations`` tells which rejection the violation of which constraint means. Any other one is raised, such as that
    of PK_DECISIONS by a concurrent duplicate.
    """
    decisions = Repositories(session).decisions
    if not isinstance(built, Rejection):
        try:
            async with session.begin_nested():
                # The decision first: concurrent duplicates meet at the key, and not at a name that both want.
                await decisions.add([Decision.on(key, built, moment.place)])
                return await insert(built)
        except Exception as error:
            rejection = violations.get(violated_constraint(error) or "")
            if rejection is None:
                raise
        built = rejection
    await decisions.add([Decision.on(key, built, moment.place)])
    entry_id = new_identifier(moment.place)
    await Repositories(session).history.add([request_rejected(key, entry_id, built, moment)])
    return built


def replayed(earlier: Decision | None, key: Key, made: type[M]) -> Answer[M | Rejection] | None:
    """Return the answer to the request of ``key`` from the decision that stands under it; None when none does."""
    answer = replay(earlier, key.operation, key.fingerprint)
    if answer is None:
        return None
    return Answer(_one_of(answer.result, made), replayed=answer.replayed)


def has_written(answer: Answer[Any]) -> bool:
    """Whether ``answer`` was decided now, and is remembered: neither a replay nor a rejection for now has written."""
    return not (answer.replayed or isinstance(answer.result, ClockBehind))


def _one_of(result: Result, made: type[M]) -> M | Rejection:
    if isinstance(result, Rejection):
        return result
    assert isinstance(result, made), "the fingerprint covers the operation"
    return result


async def _replayed(session: Session, key: Key, made: type[M]) -> Answer[M | Rejection] | None:
    decisions = Repositories(session).decisions
    return replayed(await decisions.by_key(key.ledger_id, key.client_id, key.idempotency_key), key, made)
