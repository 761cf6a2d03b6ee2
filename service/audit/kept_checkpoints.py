"""Checkpoints that somebody kept outside, held against a history: whether it is the one that was seen then, and all of
it. A restored backup agrees with itself however old it is; only what was kept elsewhere shows what it lacks.
"""

from dataclasses import replace

from msgspec import Struct

from service.audit.ledger_log import LedgerLog
from service.audit.log_keys import LogKeys
from service.domain.history import INSTALLATION, LoggedLedger
from service.domain.integrity import Finding
from service.proofs.checkpoints import parse_checkpoint
from service.proofs.errors import NotProvenError
from service.proofs.notes import parse_note
from service.proofs.verify import Trust, verify_checkpoint
from service.storage.database import Session
from service.storage.repositories import Repositories

KEPT_STAND = "every checkpoint that was kept outside is of this history"


class KeptCheckpoint(Struct, frozen=True):
    """What the log of ``ledger`` ("": the installation's own) signed once: the root of its first ``size`` entries."""

    ledger: str
    size: int
    root: bytes


def read_kept(note: str, keys: LogKeys) -> KeptCheckpoint:
    """Return the checkpoint of a note that a log of this installation signed. Raises ProofsError."""
    origin = parse_checkpoint(parse_note(note).text).origin
    for key in keys.logs:
        if origin == key.name or origin.startswith(f"{key.name}/"):
            proven = verify_checkpoint(note, Trust([replace(key, name=origin)])).checkpoint
            return KeptCheckpoint(origin.removeprefix(key.name).removeprefix("/"), proven.size, proven.root)
    raise NotProvenError("The checkpoint is of a log of which no key is known here.")


async def compare(session: Session, kept: KeptCheckpoint) -> list[Finding]:
    """Return what the history lacks or has otherwise than when the checkpoint was signed; entries that are not sealed
    again yet count as well.
    """
    ledger = INSTALLATION
    if kept.ledger:
        found = await Repositories(session).ledgers.by_name(kept.ledger)
        if found is None:
            return [_finding(kept, f"there is no ledger {kept.ledger!r}: all of its entries are missing")]
        ledger = LoggedLedger(found.id, found.name)
    size, root = await LedgerLog(session, ledger).beginning(kept.size)
    if size < kept.size:
        lost = f"{kept.size - size} {'is' if kept.size - size == 1 else 'are'} missing"
        return [_finding(kept, f"the history has {size} entries: {lost}, from entry {size} on")]
    return [] if root == kept.root else [_finding(kept, f"the first {size} entries are not those that it is of")]


def _finding(kept: KeptCheckpoint, wrong: str) -> Finding:
    return Finding(KEPT_STAND, "log_checkpoints", str(kept.size), wrong)
