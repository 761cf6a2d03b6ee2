"""Receipts, consistency proofs and requests to witnesses: their forms, to the byte."""

from collections.abc import Callable

import pytest

from service.proofs.consistency import ConsistencyProof, parse_consistency_proof
from service.proofs.errors import MalformedTextError, NotProvenError, UnusableKeyError
from service.proofs.notes import cosign
from service.proofs.receipts import Receipt, parse_receipt
from service.proofs.tree import PATH_LENGTH_MAX
from service.proofs.witnesses import AddCheckpoint, parse_add_checkpoint, parse_known_size, read_cosignatures
from tests.proofs.logs import TIME, Log

LOG = Log(8)
CHECKPOINT = str(LOG.checkpoint(8))
HASH = "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ="
HEADER = "c2sp.org/tlog-proof@v1"
OWN_HEADER = "funds/consistency-proof@v1"


@pytest.mark.parametrize("receipt", [
    f"{HEADER}\nindex 0\n\n{CHECKPOINT}",
    f"{HEADER}\nindex 73894\n{HASH}\n{HASH}\n\n{CHECKPOINT}",
    f"{HEADER}\nextra YWdl\nindex 3\n{HASH}\n\n{CHECKPOINT}",
    f"{HEADER}\nindex 1\n" + f"{HASH}\n" * PATH_LENGTH_MAX + f"\n{CHECKPOINT}",
])  # fmt: skip
def test_what_a_receipt_may_be(receipt: str) -> None:
    parts = parse_receipt(receipt)
    assert str(parts) == receipt
    assert parts.checkpoint == CHECKPOINT


def test_what_a_receipt_says() -> None:
    receipt = Receipt(index=5, path=(bytes(32),), checkpoint=CHECKPOINT, extra=b"\0more")
    assert parse_receipt(str(receipt)) == receipt
    assert str(receipt).split("\n")[:3] == [HEADER, "extra AG1vcmU=", "index 5"]


@pytest.mark.parametrize(("receipt", "said"), [
    ("", "newline"),
    (f"{HEADER}\n", "no checkpoint"),
    (f"{HEADER}\nindex 0\n{CHECKPOINT}", "number|base64"),
    (f"c2sp.org/tlog-proof@v2\nindex 0\n\n{CHECKPOINT}", "does not begin with the line"),
    (f"{HEADER} \nindex 0\n\n{CHECKPOINT}", "does not begin with the line"),
    (f"\n{HEADER}\nindex 0\n\n{CHECKPOINT}", "does not begin|no checkpoint"),
    (f"{HEADER}\n\n{CHECKPOINT}", "no line “index”"),
    (f"{HEADER}\nindex\n\n{CHECKPOINT}", "no line “index”"),
    (f"{HEADER}\nindex 01\n\n{CHECKPOINT}", "decimal number"),
    (f"{HEADER}\nindex  1\n\n{CHECKPOINT}", "decimal number"),
    (f"{HEADER}\nIndex 1\n\n{CHECKPOINT}", "no line “index”"),
    (f"{HEADER}\nextra \nindex 1\n\n{CHECKPOINT}", "extra data"),
    (f"{HEADER}\nextra YWdk=\nindex 1\n\n{CHECKPOINT}", "extra data"),
    (f"{HEADER}\nextra YWdl\nextra YWdl\nindex 1\n\n{CHECKPOINT}", "no line “index”"),
    (f"{HEADER}\nindex 1\nextra YWdl\n\n{CHECKPOINT}", "hash 1 of the receipt"),
    (f"{HEADER}\nindex 1\n{HASH}\n{HASH[4:]}\n\n{CHECKPOINT}", "hash 2 of the receipt has 29 bytes"),
    (f"{HEADER}\nindex 1\n{HASH[:-2]}R=\n\n{CHECKPOINT}", "base64"),
    (f"{HEADER}\r\nindex 1\r\n\r\n{CHECKPOINT}", "control character"),
    (f"{HEADER}\nindex 1\n" + f"{HASH}\n" * (PATH_LENGTH_MAX + 1) + f"\n{CHECKPOINT}", "64 hashes"),
])  # fmt: skip
def test_what_is_no_receipt(receipt: str, said: str) -> None:
    with pytest.raises(MalformedTextError, match=said):
        parse_receipt(receipt)


@pytest.mark.parametrize("proof", [
    f"{OWN_HEADER}\nold 0\nnew 0\n", f"{OWN_HEADER}\nold 20852014\nnew 20852163\n{HASH}\n{HASH}\n",
])  # fmt: skip
def test_what_a_consistency_proof_may_be(proof: str) -> None:
    assert str(parse_consistency_proof(proof)) == proof


def test_what_a_consistency_proof_says() -> None:
    assert str(ConsistencyProof(3, 7, (bytes(32),))) == f"{OWN_HEADER}\nold 3\nnew 7\n{'A' * 43}=\n"


@pytest.mark.parametrize("proof", [
    "", f"{OWN_HEADER}\n", f"{OWN_HEADER}\nold 1\n", f"{OWN_HEADER}\nnew 1\nold 1\n", f"{OWN_HEADER}\nold 1\nnew 2",
    "funds/consistency-proof@v2\nold 1\nnew 2\n", f"{OWN_HEADER}\nold 1\nnew 02\n", f"{OWN_HEADER}\nold 1\nnew 2\n\n",
    f"{OWN_HEADER}\nold 1\nnew 2\nAAAA\n", f"{OWN_HEADER}\nold 1\nnew 2\n" + f"{HASH}\n" * (PATH_LENGTH_MAX + 1),
])  # fmt: skip
def test_what_is_no_consistency_proof(proof: str) -> None:
    with pytest.raises(MalformedTextError):
        parse_consistency_proof(proof)


@pytest.mark.parametrize("body", [f"old 0\n\n{CHECKPOINT}", f"old 20852014\n{HASH}\n{HASH}\n\n{CHECKPOINT}"])
def test_what_a_witness_is_asked(body: str) -> None:
    parts = parse_add_checkpoint(body)
    assert str(parts) == body
    assert isinstance(parts, AddCheckpoint)


@pytest.mark.parametrize("body", [
    "", CHECKPOINT, f"old 0\n{CHECKPOINT}", f"old 00\n\n{CHECKPOINT}", f"old 1\nAAAA\n\n{CHECKPOINT}", "old 0\n\n",
    "old 1\n" + f"{HASH}\n" * (PATH_LENGTH_MAX + 1) + f"\n{CHECKPOINT}",
])  # fmt: skip
def test_what_a_witness_cannot_be_asked(body: str) -> None:
    with pytest.raises(MalformedTextError):
        parse_add_checkpoint(body)


def test_what_a_witness_knows() -> None:
    assert parse_known_size("20852163\n") == 20_852_163
    for answer in ("", "1", "01\n", "1\n\n", "<html>\n"):
        with pytest.raises(MalformedTextError):
            parse_known_size(answer)


def test_the_cosignatures_of_an_answer() -> None:
    note = LOG.checkpoint(8)
    lines = [cosign(note.text, key, TIME) for key in LOG.witnesses]
    known = [key.verifier_key for key in LOG.witnesses]
    answer = "".join(map(str, lines))
    assert read_cosignatures(answer, note, known) == tuple(lines)
    assert read_cosignatures(answer, note, known[1:2]) == (lines[1],)
    assert str(note.signed(*lines)) == str(LOG.checkpoint(8)) + answer


def other_text() -> str:
    return str(cosign(LOG.checkpoint(7).text, LOG.witnesses[0], TIME))


def unknown_key() -> str:
    return str(cosign(LOG.checkpoint(8).text, LOG.witnesses[2], TIME))


@pytest.mark.parametrize(
    ("answer", "said"), [(other_text, "is not of this text"), (unknown_key, "no cosignature by a witness")]
)
def test_an_answer_that_does_not_cosign(answer: Callable[[], str], said: str) -> None:
    with pytest.raises(NotProvenError, match=said):
        read_cosignatures(answer(), LOG.checkpoint(8), [key.verifier_key for key in LOG.witnesses[:2]])


def test_a_log_is_no_witness_of_itself() -> None:
    note = LOG.checkpoint(8)
    with pytest.raises(UnusableKeyError, match="cannot be that of a witness"):
        read_cosignatures("".join(map(str, note.signatures)), note, [LOG.key.verifier_key])
