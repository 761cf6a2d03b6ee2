"""Receipts, verified on the way to a page as whoever downloads them verifies them: by ``service/proofs`` alone."""

from msgspec import Struct

from service.console.visits import Visit
from service.errors import ApiRefusedError
from service.proofs.errors import ProofsError
from service.proofs.keys import parse_verifier_key
from service.proofs.verify import Cosigner, Trust, verify_receipt
from service.wire.log import ReceiptView


class Proof(Struct, frozen=True):
    """What a receipt proves by the key that the service names; ``wrong`` says why not."""

    key: str
    wrong: str = ""
    index: int = 0
    size: int = 0
    cosigners: tuple[Cosigner, ...] = ()


async def verified(visit: Visit, ledger_name: str, receipt: ReceiptView) -> Proof:
    """Return what ``receipt`` proves of its entry."""
    try:
        key = (await visit.api.text("ledgers", ledger_name, "log", "key")).strip()
    except ApiRefusedError as error:
        return Proof("", wrong=error.detail)
    try:
        proven = verify_receipt(receipt.entry.encode(), receipt.receipt, Trust([parse_verifier_key(key)]))
    except ProofsError as error:
        return Proof(key, wrong=str(error))
    return Proof(key, index=proven.index, size=proven.head.checkpoint.size, cosigners=proven.head.cosigners)
