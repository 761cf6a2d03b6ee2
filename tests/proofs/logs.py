"""A log for tests: its entries, its key, checkpoints of every size, receipts, and witnesses."""

from functools import cached_property

from service.proofs.checkpoints import Checkpoint, sign_checkpoint
from service.proofs.consistency import ConsistencyProof
from service.proofs.keys import KeyKind, SignerKey
from service.proofs.notes import Note, cosign
from service.proofs.receipts import Receipt
from tests.support.log_verifier import ReferenceTree

ORIGIN = "log.example/v1/ledgers/main"
TIME = 1_764_000_000


class Log:
    """A log of ``size`` entries. Keys are made of fixed bytes, so that every run has the same texts."""

    def __init__(self, size: int, origin: str = ORIGIN, more: str = "") -> None:
        self.entries = [f'{{"id":"{number}","data":{{"amount":{number}}}{more}}}'.encode() for number in range(size)]
        self.key = SignerKey(origin, KeyKind.LOG, bytes(range(32)))
        self.witnesses = [
            SignerKey(f"witness-{number}.example", KeyKind.WITNESS, bytes([number]) * 32) for number in range(1, 4)
        ]
        self.tree = ReferenceTree(self.entries)

    @cached_property
    def vkey(self) -> str:
        return str(self.key.verifier_key)

    def checkpoint(self, size: int, witnesses: int = 0) -> Note:
        """The checkpoint of one size, cosigned by so many witnesses, a minute after each other."""
        note = sign_checkpoint(Checkpoint(self.key.name, size, self.tree.root(size)), self.key)
        cosigners = self.witnesses[:witnesses]
        return note.signed(*(cosign(note.text, key, TIME + 60 * place) for place, key in enumerate(cosigners)))

    def receipt(self, index: int, size: int, witnesses: int = 0) -> str:
        return str(Receipt(index, tuple(self.tree.path(index, size)), str(self.checkpoint(size, witnesses))))

    def proof(self, old: int, new: int) -> str:
        return str(ConsistencyProof(old, new, tuple(self.tree.proof(old, new)) if old else ()))
