"""Offline verification: what is proven, and in which words everything else is not."""

from collections.abc import Callable, Iterator

import pytest

from service.proofs.checkpoints import Checkpoint, sign_checkpoint
from service.proofs.errors import MalformedTextError, NotProvenError, ProofsError, UnusableKeyError
from service.proofs.keys import KeyKind, SignerKey
from service.proofs.lines import decode_text
from service.proofs.notes import cosign
from service.proofs.receipts import Receipt
from service.proofs.verify import Cosigner, Trust, verify_checkpoint, verify_consistency, verify_receipt
from tests.proofs.logs import ORIGIN, TIME, Log
from tests.support.log_verifier import UnprovenError, check_growth, check_receipt

LOG = Log(20)
KEY = LOG.key.verifier_key
WITNESSES = [key.verifier_key for key in LOG.witnesses]
TRUST = Trust([KEY])
STRICT = Trust([KEY], witnesses=WITNESSES)


def test_a_receipt_of_every_entry_in_every_size() -> None:
    for size in range(1, 21):
        for index in range(size):
            receipt = LOG.receipt(index, size)
            proven = verify_receipt(LOG.entries[index], receipt, TRUST)
            assert (proven.index, proven.head.checkpoint.size) == (index, size)
            assert check_receipt(LOG.entries[index], receipt.encode(), LOG.vkey).place == index


def test_a_receipt_says_which_witnesses_saw_it() -> None:
    receipt = LOG.receipt(3, 20, witnesses=3)
    proven = verify_receipt(LOG.entries[3], receipt, STRICT)
    times = [TIME, TIME + 60, TIME + 120]
    assert proven.head.cosigners == tuple(Cosigner(key.name, time) for key, time in zip(WITNESSES, times, strict=True))
    assert check_receipt(LOG.entries[3], receipt.encode(), LOG.vkey, [str(key) for key in WITNESSES]).times == times


def changed(data: bytes) -> Iterator[bytes]:
    """Each byte of ``data`` changed, each missing, and one more in each place."""
    for place in range(len(data)):
        before, after = data[:place], data[place + 1 :]
        yield from (before + bytes([data[place] ^ bit]) + after for bit in (1, 32))
        yield before + after
        yield before + b"A" + data[place:]


def test_no_receipt_with_a_changed_byte_proves_anything() -> None:
    receipt = LOG.receipt(13, 20, witnesses=1).encode()
    trust = Trust([KEY], witnesses=WITNESSES[:1])
    assert verify_receipt(LOG.entries[13], decode_text(receipt, "receipt"), trust).index == 13
    for other in changed(receipt):
        with pytest.raises(ProofsError):
            verify_receipt(LOG.entries[13], decode_text(other, "receipt"), trust)


def test_no_other_entry_is_proven() -> None:
    receipt = LOG.receipt(13, 20)
    for other in (*changed(LOG.entries[13]), *LOG.entries[:13], b""):
        with pytest.raises(NotProvenError, match="does not prove this entry"):
            verify_receipt(other, receipt, TRUST)
        with pytest.raises(UnprovenError):
            check_receipt(other, receipt.encode(), LOG.vkey)


def test_a_newline_that_an_editor_added_is_told() -> None:
    with pytest.raises(NotProvenError, match="without the newline at its end"):
        verify_receipt(LOG.entries[13] + b"\n", LOG.receipt(13, 20), TRUST)


def test_an_index_beyond_the_checkpoint() -> None:
    receipt = Receipt(20, (), str(LOG.checkpoint(20)))
    with pytest.raises(NotProvenError, match="is for index 20, and its checkpoint of 20 entries only"):
        verify_receipt(b"", str(receipt), TRUST)


OTHER_KEY = SignerKey(ORIGIN, KeyKind.LOG, bytes(32)).verifier_key
OTHER_LOG = Log(20, "other.example")


def test_which_log_a_key_is_trusted_for() -> None:
    receipt = LOG.receipt(1, 20)
    with pytest.raises(NotProvenError, match=r"of the log 'log\.example/v1/ledgers/main', of which no key is trusted"):
        verify_receipt(LOG.entries[1], receipt, Trust([OTHER_LOG.key.verifier_key]))
    with pytest.raises(NotProvenError, match="not signed by the trusted key"):
        verify_receipt(LOG.entries[1], receipt, Trust([OTHER_KEY]))
    assert verify_receipt(LOG.entries[1], receipt, Trust([OTHER_KEY, OTHER_LOG.key.verifier_key, KEY])).index == 1
    assert verify_receipt(LOG.entries[1], receipt, Trust([KEY], origin=ORIGIN)).index == 1
    with pytest.raises(NotProvenError, match="no key is trusted"):
        verify_receipt(LOG.entries[1], receipt, Trust([KEY], origin="other.example"))


def test_a_key_with_another_name_than_the_log() -> None:
    checkpoint = Checkpoint("ledger", 20, LOG.tree.root(20))
    note = str(sign_checkpoint(checkpoint, LOG.key))
    assert verify_checkpoint(note, Trust([KEY], origin="ledger")).checkpoint == checkpoint
    with pytest.raises(NotProvenError, match="no key is trusted"):
        verify_checkpoint(note, TRUST)


def test_a_long_origin_is_cut_in_messages() -> None:
    note = sign_checkpoint(Checkpoint("\x9b" + "a" * 1000, 20, LOG.tree.root(20)), LOG.key)
    with pytest.raises(NotProvenError) as raised:
        verify_checkpoint(str(note), TRUST)
    assert len(str(raised.value)) < 200
    assert "\x9b" not in str(raised.value)


def test_how_many_witnesses_there_must_be() -> None:
    for seen in range(4):
        note = str(LOG.checkpoint(20, witnesses=seen))
        assert len(verify_checkpoint(note, Trust([KEY], witnesses=WITNESSES, witnesses_min=seen)).cosigners) == seen
        for needed in range(seen + 1, 4):
            with pytest.raises(NotProvenError, match=rf"by {seen} of the trusted witnesses, and must be by {needed}"):
                verify_checkpoint(note, Trust([KEY], witnesses=WITNESSES, witnesses_min=needed))
    with pytest.raises(NotProvenError, match="by 2 of the trusted witnesses, and must be by 3"):
        verify_checkpoint(str(LOG.checkpoint(20, witnesses=2)), STRICT)


def test_a_witness_counts_once() -> None:
    first = LOG.witnesses[0]
    again = first.named("another-name.example")
    note = LOG.checkpoint(20)
    note = note.signed(cosign(note.text, first, TIME), cosign(note.text, again, TIME))
    with pytest.raises(UnusableKeyError, match="2 of 1 witnesses cannot be"):
        Trust([KEY], witnesses=[first.verifier_key, again.verifier_key], witnesses_min=2)
    trust = Trust([KEY], witnesses=[first.verifier_key, again.verifier_key, WITNESSES[1]], witnesses_min=2)
    with pytest.raises(NotProvenError, match="by 1 of the trusted witnesses, and must be by 2"):
        verify_checkpoint(str(note), trust)


@pytest.mark.parametrize(
    ("trust", "said"),
    [
        (lambda: Trust([]), "key of a log is needed"),
        (lambda: Trust([WITNESSES[0]]), "cannot be that of a log"),
        (lambda: Trust([KEY], witnesses=[KEY]), "cannot be that of a witness"),
        (lambda: Trust([KEY], witnesses=WITNESSES, witnesses_min=4), "4 of 3 witnesses cannot be"),
        (lambda: Trust([KEY], witnesses_min=-1), "-1 of 0 witnesses cannot be"),
    ],
)
def test_whom_one_cannot_trust(trust: Callable[[], Trust], said: str) -> None:
    with pytest.raises(UnusableKeyError, match=said):
        trust()


def test_an_empty_log_has_the_root_of_nothing() -> None:
    note = str(sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), LOG.key))
    with pytest.raises(NotProvenError, match="of an empty log"):
        verify_checkpoint(note, TRUST)


def test_the_growth_between_all_sizes() -> None:
    for new in range(21):
        for old in range(new + 1):
            before, after = str(LOG.checkpoint(old)), str(LOG.checkpoint(new))
            proven = verify_consistency(before, after, LOG.proof(old, new), TRUST)
            assert (proven.old.checkpoint.size, proven.new.checkpoint.size) == (old, new)
            check_growth(before.encode(), after.encode(), LOG.tree.proof(old, new) if old else [], LOG.vkey)


def test_no_growth_with_a_changed_byte_is_proven() -> None:
    texts = [str(LOG.checkpoint(7)), str(LOG.checkpoint(20)), LOG.proof(7, 20)]

    def verify(place: int, other: bytes) -> None:
        given = list(texts)
        given[place] = decode_text(other, "text")
        old, new, proof = given
        verify_consistency(old, new, proof, TRUST)

    for place, text in enumerate(texts):
        verify(place, text.encode())
        for other in changed(text.encode()):
            with pytest.raises(ProofsError):
                verify(place, other)


# The same log with another past, signed by the same key: what must never be.
FORGED = Log(20, more=',"forged":true')


@pytest.mark.parametrize(
    ("old", "new", "proof", "said"),
    [
        (LOG.checkpoint(7), FORGED.checkpoint(20), FORGED.proof(7, 20), "does not lead from the old root to the new"),
        (LOG.checkpoint(7), FORGED.checkpoint(20), LOG.proof(7, 20), "does not lead from the old root to the new"),
        (LOG.checkpoint(8), FORGED.checkpoint(20), FORGED.proof(8, 20), "does not lead from the old root to the new"),
        (LOG.checkpoint(9), FORGED.checkpoint(9), LOG.proof(9, 9), "9 entries, with different roots: .* two histories"),
        (LOG.checkpoint(9), LOG.checkpoint(8), LOG.proof(8, 9), "exchanged, or the log was cut"),
        (
            LOG.checkpoint(7),
            LOG.checkpoint(20),
            LOG.proof(8, 20),
            "from 8 to 20 entries, .* of 7 and 20",
        ),
        (
            LOG.checkpoint(7),
            LOG.checkpoint(20),
            LOG.proof(7, 19),
            "from 7 to 19 entries, .* of 7 and 20",
        ),
    ],
)
def test_what_is_no_growth(old: object, new: object, proof: str, said: str) -> None:
    with pytest.raises(NotProvenError, match=said):
        verify_consistency(str(old), str(new), proof, TRUST)


def test_two_logs_do_not_grow_into_each_other() -> None:
    trust = Trust([KEY, OTHER_LOG.key.verifier_key])
    with pytest.raises(NotProvenError, match="are of two logs"):
        verify_consistency(str(LOG.checkpoint(7)), str(OTHER_LOG.checkpoint(20)), LOG.proof(7, 20), trust)


def test_both_checkpoints_must_be_signed_and_cosigned() -> None:
    proof = LOG.proof(7, 20)
    good, bad = LOG.checkpoint(7, witnesses=3), LOG.checkpoint(20, witnesses=2)
    with pytest.raises(NotProvenError, match="by 2 of the trusted witnesses"):
        verify_consistency(str(good), str(bad), proof, STRICT)
    proven = verify_consistency(str(good), str(LOG.checkpoint(20, witnesses=3)), proof, STRICT)
    assert (len(proven.old.cosigners), len(proven.new.cosigners)) == (3, 3)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(MalformedTextError, match="receipt is not UTF-8 from byte 2 on"):
        decode_text(b"ab\xff", "receipt")
