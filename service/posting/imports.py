"""Posting what others have recorded: each entry once, however often its file is imported.

Nothing but the decision under its key says of an entry whether it was imported, and decisions are for ever. So an entry
that was rejected gets another key for another attempt: the first decision that did not reject it is the last one.
"""

from collections.abc import Sequence

from msgspec import Struct, structs

from service.domain.commands import PostTransfer
from service.domain.decisions import Decision
from service.domain.fingerprints import group_fingerprint, member_fingerprint
from service.domain.rejections import BatchRejected, Rejection
from service.posting.committer import Committer
from service.posting.parts import in_parts
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions

ATTEMPTS_MAX = 100
"""How often an entry that is rejected may be tried again."""


class ImportedEntry(Struct, frozen=True):
    """An entry, known again by ``key``, and the transfers that it becomes, whose own keys are made of that."""

    key: str
    transfers: Sequence[PostTransfer]

    def first_key(self, attempt: int) -> str:
        """Return the key of the first transfer, which is decided with all others."""
        return f"{self.key}-{attempt}-1"

    def group(self, attempt: int) -> list[PostTransfer]:
        """Return the commands of the ``attempt``, counted from 1."""
        named = [
            structs.replace(transfer, idempotency_key=f"{self.key}-{attempt}-{place}")
            for place, transfer in enumerate(self.transfers, 1)
        ]
        if len(named) == 1:
            return named
        whole = group_fingerprint((command.idempotency_key, command.fingerprint) for command in named)
        return [
            structs.replace(command, fingerprint=member_fingerprint(whole, command.fingerprint)) for command in named
        ]


class Imported(Struct, frozen=True):
    """What became of an entry: ``rejection`` says why it is not there; ``replayed`` that it was decided before."""

    rejection: Rejection | None
    replayed: bool


async def import_entries(
    transactions: Transactions,
    committer: Committer,
    entries: Sequence[ImportedEntry],
    *,
    commands_max: int,
    again: bool,
) -> list[Imported]:
    """Post ``entries`` of one ledger and one client, in order, in submissions of at most ``commands_max`` commands, and
    return what became of each.

    One that was rejected before is decided again if it says something else now, or if all of them are to be tried
    ``again``. Raises StorageError and what else ``Committer.submit`` does.
    """
    if not entries:
        return []
    attempts = await transactions.run(lambda session: _attempts(session, entries, again=again), writes=lambda _: False)
    groups = [entry.group(attempt) for entry, attempt in zip(entries, attempts, strict=True) if attempt is not None]
    submitted = iter(await _submit(committer, groups, commands_max))
    return [Imported(None, replayed=True) if attempt is None else next(submitted) for attempt in attempts]


async def _submit(committer: Committer, groups: Sequence[list[PostTransfer]], commands_max: int) -> list[Imported]:
    """Return what became of each of ``groups``."""
    results: list[Imported] = []
    for part in in_parts(groups, commands_max):
        for answers in await committer.submit(part[0][0].ledger_id, part):
            rejections = [answer.result for answer in answers if isinstance(answer.result, Rejection)]
            own = next((one for one in rejections if not isinstance(one, BatchRejected)), None)
            results.append(Imported(own or next(iter(rejections), None), answers[0].replayed))
    return results


async def _attempts(session: Session, entries: Sequence[ImportedEntry], *, again: bool) -> list[int | None]:
    """Return which attempt of each entry is to be submitted; None for one that is applied, and says what it said then.

    That is the attempt under which something else was applied, the last one that was rejected, or the next one if the
    entry is to be decided again.
    """
    decisions = Repositories(session).decisions
    ledger_id, client = entries[0].transfers[0].ledger_id, entries[0].transfers[0].client_id
    attempts: list[int | None] = [1] * len(entries)
    rejected: dict[int, Decision | None] = dict.fromkeys(range(len(entries)))
    for attempt in range(1, ATTEMPTS_MAX + 1):
        keys = {place: entries[place].first_key(attempt) for place in rejected}
        known = await decisions.by_keys(ledger_id, client, list(keys.values()))
        still_rejected: dict[int, Decision | None] = {}
        for place, key in keys.items():
            decision, last = known.get(key), rejected[place]
            if decision is not None:
                is_there = decision.outcome == "applied" and _is_on(decision, entries[place], attempt)
                attempts[place] = None if is_there else attempt
                if decision.outcome == "rejected":
                    still_rejected[place] = decision
            elif last is not None and (again or not _is_on(last, entries[place], attempt - 1)):
                attempts[place] = attempt
        rejected = still_rejected
        if not rejected:
            break
    return attempts


def _is_on(decision: Decision, entry: ImportedEntry, attempt: int) -> bool:
    """Whether ``decision`` is on what ``entry`` says now."""
    return decision.fingerprint == entry.group(attempt)[0].fingerprint
