"""What reads proofs and what is said of them: for whoever verifies, all of it comes from somebody else."""

from collections.abc import Callable, Iterator

from service.proofs.checkpoints import Checkpoint, parse_checkpoint, sign_checkpoint
from service.proofs.consistency import ConsistencyProof, parse_consistency_proof
from service.proofs.errors import ProofsError
from service.proofs.keys import KeyKind, SignerKey, parse_signer_key, parse_verifier_key
from service.proofs.lines import decode_text
from service.proofs.notes import cosign, parse_note
from service.proofs.receipts import Receipt, parse_receipt
from service.proofs.tree import leaf_hash, node_hash
from service.proofs.verify import Trust, verify_checkpoint, verify_consistency, verify_receipt
from service.proofs.witnesses import AddCheckpoint, parse_add_checkpoint, parse_known_size, read_cosignatures
from tests.fuzz.drawing import Target, as_text

_LOG = SignerKey("funds.example/main", KeyKind.LOG, bytes(range(32)))
_WITNESS = SignerKey("witness.example", KeyKind.WITNESS, bytes(range(1, 33)))
_ENTRIES = (b'{"entry":0}', b'{"entry":1}')
_LEAVES = tuple(map(leaf_hash, _ENTRIES))
_TRUST = Trust([_LOG.verifier_key], witnesses=[_WITNESS.verifier_key], witnesses_min=0)


def _note(size: int, root: bytes) -> str:
    note = sign_checkpoint(Checkpoint(_LOG.name, size, root), _LOG)
    return str(note.signed(cosign(note.text, _WITNESS, 1_790_000_000)))


_OLD = _note(1, _LEAVES[0])
_NEW = _note(2, node_hash(*_LEAVES))
_RECEIPT = str(Receipt(0, (_LEAVES[1],), _NEW, extra=b"more"))
_PROOF = str(ConsistencyProof(1, 2, (_LEAVES[1],)))
_COSIGNATURES = "".join(line for line in _NEW.splitlines(keepends=True) if "witness" in line)
_TOKENS = (b"\n\n", "— ".encode(), b"+", b"index ", b"old ", b"new ", b"extra ", b"=\n", b"18446744073709551616")


def _of_text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Return what reads the text of a file, which need not be UTF-8."""
    return lambda data: read(decode_text(data, "text"))


def proof_targets() -> Iterator[Target]:
    parsers: dict[str, tuple[Callable[[str], object], str]] = {
        "note": (parse_note, _NEW),
        "checkpoint": (parse_checkpoint, parse_note(_NEW).text),
        "receipt": (parse_receipt, _RECEIPT),
        "consistency proof": (parse_consistency_proof, _PROOF),
        "request to a witness": (parse_add_checkpoint, str(AddCheckpoint(1, (_LEAVES[1],), _NEW))),
        "size that a witness knows": (parse_known_size, "12\n"),
        "answer of a witness": (
            lambda text: read_cosignatures(text, parse_note(_NEW), [_WITNESS.verifier_key]),
            _COSIGNATURES,
        ),
    }
    for name, (parse, sample) in parsers.items():
        yield Target(name, _of_text(_says_the_same(parse)), (ProofsError,), [sample.encode()], _TOKENS)
    keys: dict[str, tuple[Callable[[str], object], str]] = {
        "verifier key": (parse_verifier_key, str(_LOG.verifier_key)),
        "signer key": (parse_signer_key, _LOG.secret_text()),
    }
    for name, (parse, sample) in keys.items():  # they may stand on a command line, where any byte can be
        yield Target(name, lambda data, parse=parse: parse(as_text(data)), (ProofsError,), [sample.encode()], _TOKENS)  # type: ignore[misc]
    for name, verify, sample in (
        ("verified checkpoint", lambda text: verify_checkpoint(text, _TRUST), _NEW),
        ("verified receipt", lambda text: verify_receipt(_ENTRIES[0], text, _TRUST), _RECEIPT),
        ("verified proof", lambda text: verify_consistency(_OLD, _NEW, text, _TRUST), _PROOF),
    ):
        yield Target(name, _of_text(_proves_only(sample, verify)), (ProofsError,), [sample.encode()], _TOKENS)


def _says_the_same(parse: Callable[[str], object]) -> Callable[[str], object]:
    """Return ``parse``, held to what it gives: each text has one spelling, so what was read is written as it came."""

    def read(text: str) -> object:
        read = parse(text)
        assert isinstance(read, int | tuple) or str(read) == text
        return read

    return read


def _proves_only(sample: str, verify: Callable[[str], object]) -> Callable[[str], object]:
    """Return ``verify``, held to what it proves: of what signatures and hashes cover nothing can be changed."""
    proven = verify(sample)

    def read(text: str) -> object:
        found = verify(text)
        assert _facts(found) == _facts(proven)
        return found

    return read


def _facts(proven: object) -> object:
    """Return what was proven but for the cosigners, whose lines can be left out."""
    for name in ("checkpoint", "index"):
        if hasattr(proven, name):
            inner = getattr(proven, name)
            return inner if isinstance(inner, int | Checkpoint) else _facts(inner)
    return [getattr(proven, name).checkpoint for name in ("old", "new")]
