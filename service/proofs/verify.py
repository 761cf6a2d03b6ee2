"""Verification without a service: what somebody holds who trusts some keys, and nothing else.

Each function returns what is proven, or raises a ProofsError whose message says in a sentence what is wrong:
MalformedTextError for a text that is not in its form, NotProvenError for everything else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import tree
from .checkpoints import Checkpoint, parse_checkpoint
from .consistency import parse_consistency_proof
from .errors import NotProvenError, UnusableKeyError
from .keys import KeyKind, VerifierKey, cosigned_at
from .notes import parse_note, signatures_by
from .receipts import parse_receipt

_ORIGIN_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a verifier trusts. A key of a log is trusted for the log whose origin is the key's name, or for ``origin``
    alone where that is given. Of the witnesses, ``witnesses_min`` must have cosigned (None: all of them).

    Raises UnusableKeyError for keys of the wrong kind, none of a log, or fewer witnesses than there must be.
    """

    keys: Sequence[VerifierKey]
    origin: str | None = None
    witnesses: Sequence[VerifierKey] = ()
    witnesses_min: int | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise UnusableKeyError("The key of a log is needed.")
        if any(key.kind is not KeyKind.LOG for key in self.keys):
            raise UnusableKeyError("The key of a witness cannot be that of a log.")
        if any(key.kind is not KeyKind.WITNESS for key in self.witnesses):
            raise UnusableKeyError("The key of a log cannot be that of a witness.")
        if not 0 <= self.witnesses_needed <= count_witnesses(self.witnesses):
            raise UnusableKeyError(f"{self.witnesses_needed} of {count_witnesses(self.witnesses)} witnesses cannot be.")

    @property
    def witnesses_needed(self) -> int:
        """How many of the witnesses must have cosigned."""
        return count_witnesses(self.witnesses) if self.witnesses_min is None else self.witnesses_min

    def keys_of(self, origin: str) -> list[VerifierKey]:
        """Return the keys that can sign for the log ``origin``."""
        if self.origin is None:
            return [key for key in self.keys if key.name == origin]
        return list(self.keys) if self.origin == origin else []


def count_witnesses(keys: Iterable[VerifierKey]) -> int:
    """Return how many witnesses these keys are: a cosignature names nobody, so a key under two names is one."""
    return len({key.public_bytes for key in keys})


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness that saw a checkpoint, at ``time`` in seconds since 1970."""

    name: str
    time: int


@dataclass(frozen=True, slots=True)
class ProvenCheckpoint:
    """A checkpoint that its log signed, and the trusted witnesses that cosigned it."""

    checkpoint: Checkpoint
    cosigners: tuple[Cosigner, ...]


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry is the one at ``index`` (from 0) of a log."""

    index: int
    head: ProvenCheckpoint


@dataclass(frozen=True, slots=True)
class ProvenGrowth:
    """The log at the old checkpoint is the beginning of the log at the new one."""

    old: ProvenCheckpoint
    new: ProvenCheckpoint


def verify_checkpoint(note: str, trust: Trust) -> ProvenCheckpoint:
    """Return the checkpoint of a note that was signed by its log and by as many witnesses as must."""
    opened = parse_note(note)
    checkpoint = parse_checkpoint(opened.text)
    keys, shown = trust.keys_of(checkpoint.origin), _shown(checkpoint.origin)
    if not keys:
        raise NotProvenError(f"The checkpoint is of the log {shown}, of which no key is trusted.")
    if not signatures_by(opened, keys):
        raise NotProvenError(f"The checkpoint is not signed by the trusted key of the log {shown}.")
    cosignatures = signatures_by(opened, trust.witnesses)
    if (count := count_witnesses(cosignatures)) < trust.witnesses_needed:
        raise NotProvenError(
            f"The checkpoint is cosigned by {count} of the trusted witnesses, and must be by {trust.witnesses_needed}."
        )
    if checkpoint.size == 0 and checkpoint.root != tree.EMPTY_ROOT:
        raise NotProvenError("The checkpoint is of an empty log, and its root is not that of one.")
    cosigners = (Cosigner(key.name, cosigned_at(signature.value)) for key, signature in cosignatures.items())
    return ProvenCheckpoint(checkpoint, tuple(cosigners))


def _shown(origin: str) -> str:
    """Return an origin as a message repeats it: cut, and with nothing in it that acts on a terminal."""
    return repr(origin if len(origin) <= _ORIGIN_SHOWN_MAX else f"{origin[:_ORIGIN_SHOWN_MAX]}…")


def verify_receipt(entry: bytes, receipt: str, trust: Trust) -> ProvenEntry:
    """Return where ``entry``, its exact bytes, stands in a log, as its receipt proves."""
    parts = parse_receipt(receipt)
    head = verify_checkpoint(parts.checkpoint, trust)
    size, root = head.checkpoint.size, head.checkpoint.root
    if parts.index >= size:
        raise NotProvenError(f"The receipt is for index {parts.index}, and its checkpoint of {size} entries only.")
    if tree.verify_inclusion(parts.index, size, tree.leaf_hash(entry), parts.path, root):
        return ProvenEntry(parts.index, head)
    without_newline = entry.removesuffix(b"\n")
    if tree.verify_inclusion(parts.index, size, tree.leaf_hash(without_newline), parts.path, root):
        raise NotProvenError("The receipt is for the entry without the newline at its end, which was added to it.")
    raise NotProvenError(
        "The receipt does not prove this entry: with its path the entry leads to another root than the checkpoint's."
    )


def verify_consistency(old_note: str, new_note: str, proof: str, trust: Trust) -> ProvenGrowth:
    """Return two checkpoints of one log, of which the proof shows that nothing before the old one was changed."""
    parts = parse_consistency_proof(proof)
    growth = ProvenGrowth(verify_checkpoint(old_note, trust), verify_checkpoint(new_note, trust))
    old, new = growth.old.checkpoint, growth.new.checkpoint
    if old.origin != new.origin:
        raise NotProvenError(f"The checkpoints are of two logs: {_shown(old.origin)} and {_shown(new.origin)}.")
    if old.size > new.size:
        raise NotProvenError(
            f"The old checkpoint is of {old.size} entries and the new one of {new.size}: they are exchanged, or the log"
            " was cut."
        )
    if (parts.old_size, parts.new_size) != (old.size, new.size):
        raise NotProvenError(
            f"The proof is from {parts.old_size} to {parts.new_size} entries, the checkpoints are of {old.size} and"
            f" {new.size}."
        )
    if old.size == new.size and old.root != new.root:
        raise NotProvenError(
            f"Both checkpoints are of {old.size} entries, with different roots: the log has shown two histories."
        )
    if not tree.verify_consistency(old.size, new.size, parts.path, old.root, new.root):
        raise NotProvenError(
            "The proof does not lead from the old root to the new one: it was changed, or entries before the old"
            " checkpoint were."
        )
    return growth
