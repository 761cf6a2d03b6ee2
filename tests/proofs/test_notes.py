"""Notes and keys: the public examples, and every rule of their form."""

import re
from base64 import b64encode

import pytest

from service.proofs.errors import MalformedTextError, NotProvenError, UnusableKeyError
from service.proofs.keys import (
    TIME_MAX,
    KeyKind,
    SignerKey,
    VerifierKey,
    cosigned_at,
    parse_signer_key,
    parse_verifier_key,
)
from service.proofs.lines import TEXT_BYTES_MAX
from service.proofs.notes import SIGNATURES_MAX, Note, cosign, parse_note, parse_signatures, sign, signatures_by

# The example in the documentation of golang.org/x/mod/sumdb/note, and its second signer.
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
NOTE = f"{TEXT}\n{PETER_LINE}"


def test_the_example_of_the_go_library() -> None:
    key = parse_signer_key(PETER_SECRET)
    assert str(key.verifier_key) == PETER
    assert key.secret_text() == PETER_SECRET
    assert str(Note(TEXT, (sign(TEXT, key),))) == NOTE


def test_the_examples_of_the_specifications() -> None:
    key = parse_verifier_key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = (
        "This is an example message.\n\n— example.com/foo"
        " Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    assert list(signatures_by(parse_note(note), [key])) == [key]
    cosignature = (
        "CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw=="
    )
    [signature] = parse_signatures(f"— witness.example/w1 {cosignature}\n")
    assert signature.key_id.hex() == "08ca7ee8"


def test_several_signatures_of_which_unknown_ones_mean_nothing() -> None:
    peter, enoch = parse_verifier_key(PETER), parse_verifier_key(ENOCH)
    note = parse_note(NOTE + ENOCH_LINE)
    assert str(note) == NOTE + ENOCH_LINE
    assert list(signatures_by(note, [peter])) == [peter]
    assert list(signatures_by(note, [enoch])) == [enoch]
    assert set(signatures_by(note, [peter, enoch, peter])) == {peter, enoch}
    assert signatures_by(note, [SignerKey.generate("PeterNeumann").verifier_key]) == {}
    unknown = NOTE + ENOCH_LINE.replace("rwz+eBzm", "rwz+eBzn")
    assert list(signatures_by(parse_note(unknown), [peter])) == [peter]
    with pytest.raises(NotProvenError, match="signature of EnochRoot is not of this text"):
        signatures_by(parse_note(unknown), [peter, enoch])


def test_a_known_key_must_verify_all_that_is_said_to_be_its_own() -> None:
    wrong = PETER_LINE.replace("ZJkuBS", "ZJkuBT")
    for lines in (PETER_LINE + wrong, wrong + PETER_LINE):
        with pytest.raises(NotProvenError, match="signature of PeterNeumann"):
            signatures_by(parse_note(f"{TEXT}\n{lines}"), [parse_verifier_key(PETER)])


def test_a_signature_takes_the_place_of_the_one_by_the_same_key() -> None:
    key = SignerKey.generate("a.example", KeyKind.WITNESS)
    note = parse_note(NOTE).signed(cosign(TEXT, key, 1)).signed(*parse_signatures(ENOCH_LINE), cosign(TEXT, key, 2))
    assert [line.name for line in note.signatures] == ["PeterNeumann", "a.example", "EnochRoot"]
    assert cosigned_at(signatures_by(note, [key.verifier_key])[key.verifier_key].value) == 2


def test_a_text_may_have_empty_lines() -> None:
    key = SignerKey.generate("a.example")
    for text in ("\n", "\n\n\n", "one\n\ntwo\n", "one\n\n", "— a.example AAAAAAA=\n\n", "ünï — ✓\n"):
        note = Note(text, (sign(text, key),))
        assert parse_note(str(note)) == note
        assert list(signatures_by(note, [key.verifier_key])) == [key.verifier_key]


def test_no_note_with_a_changed_byte_is_verified() -> None:
    key = parse_verifier_key(PETER)
    data = NOTE.encode()
    for place in range(len(data)):
        for turned in (1, 2, 32, 128):
            changed = data[:place] + bytes([data[place] ^ turned]) + data[place + 1 :]
            try:
                assert signatures_by(parse_note(changed.decode()), [key]) == {}, changed
            except (UnicodeDecodeError, MalformedTextError, NotProvenError):
                continue
    for cut in range(len(data)):
        with pytest.raises((UnicodeDecodeError, MalformedTextError)):
            parse_note(data[:cut].decode())


SIGNATURE = b64encode(bytes(68)).decode()


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("", "end in a newline"),
        ("text\n", "no empty line"),
        (f"text\n— a {SIGNATURE}\n", "no empty line"),
        ("text\n\n", "end in a newline"),
        (f"text\n\n— a {SIGNATURE}", "end in a newline"),
        (f"text\n\n— a {SIGNATURE}\n\n", "end in a newline"),
        (f"text\r\n\n— a {SIGNATURE}\n", r"control character U\+000D"),
        (f"text\t\n\n— a {SIGNATURE}\n", r"control character U\+0009"),
        (f"te\0xt\n\n— a {SIGNATURE}\n", r"control character U\+0000"),
        (f"te\ud800xt\n\n— a {SIGNATURE}\n", "surrogate"),
        (f"text\n\n- a {SIGNATURE}\n", "em dash"),
        (f"text\n\n– a {SIGNATURE}\n", "em dash"),
        (f"text\n\n—a {SIGNATURE}\n", "em dash"),
        (f"text\n\n—  a {SIGNATURE}\n", "em dash"),
        (f"text\n\n—\N{NO-BREAK SPACE}a {SIGNATURE}\n", "em dash"),
        (f"text\n\n— a+b {SIGNATURE}\n", "em dash"),
        (f"text\n\n— a\N{EM SPACE}b {SIGNATURE}\n", "em dash"),
        (f"text\n\n— a\N{NEXT LINE}b {SIGNATURE}\n", "em dash"),
        (f"text\n\n— a b {SIGNATURE}\n", "no base64"),
        (f"text\n\n— a  {SIGNATURE}\n", "no base64"),
        (f"text\n\n— a {SIGNATURE} \n", "no base64"),
        (f"text\n\n— a {SIGNATURE[:-1]}\n", "no base64"),
        (f"text\n\n— a {SIGNATURE[:-2]}B=\n", "no base64"),  # another spelling of the same bytes
        (f"text\n\n— a {SIGNATURE.replace('A', '-', 1)}\n", "no base64"),
        (f"text\n\n— a {SIGNATURE.replace('A', 'Ａ', 1)}\n", "no base64"),
        ("text\n\n— a\n", "no base64"),
        ("text\n\n— a AAAAAA==\n", "a key ID and nothing else"),
        (f"text\n\n— a {SIGNATURE}\nmore\n", "em dash"),
        ("text\n\n" + f"— a {SIGNATURE}\n" * (SIGNATURES_MAX + 1), "more than 100 signatures"),
        ("x" * TEXT_BYTES_MAX + f"\n\n— a {SIGNATURE}\n", "longer than"),
    ],
)
def test_what_is_no_note(note: str, said: str) -> None:
    with pytest.raises(MalformedTextError, match=said):
        parse_note(note)


def test_as_many_signatures_as_may_be() -> None:
    assert len(parse_note("text\n\n" + f"— a {SIGNATURE}\n" * SIGNATURES_MAX).signatures) == SIGNATURES_MAX


@pytest.mark.parametrize("text", ["", "no newline", "a tab\t\n", "half a pair \udc00\n"])
def test_what_cannot_be_signed(text: str) -> None:
    with pytest.raises(MalformedTextError):
        sign(text, SignerKey.generate("a.example"))
    with pytest.raises(MalformedTextError):
        cosign(text, SignerKey.generate("a.example", KeyKind.WITNESS), 1)


def test_the_kinds_of_keys_are_not_mixed() -> None:
    log = SignerKey("a.example", KeyKind.LOG, bytes(32))
    witness = SignerKey("a.example", KeyKind.WITNESS, bytes(32))
    assert log.verifier_key.id != witness.verifier_key.id
    with pytest.raises(UnusableKeyError, match="with a time only"):
        sign(TEXT, witness)
    with pytest.raises(UnusableKeyError, match="without a time"):
        cosign(TEXT, log, 1)
    assert not witness.verifier_key.verifies(TEXT, log.sign(TEXT))
    assert not log.verifier_key.verifies(TEXT, witness.cosign(TEXT, 1))


def test_a_cosignature_proves_its_time() -> None:
    key = SignerKey.generate("w.example", KeyKind.WITNESS)
    signature = key.cosign(TEXT, TIME_MAX)
    assert cosigned_at(signature) == TIME_MAX
    assert key.verifier_key.verifies(TEXT, signature)
    for other in (0, 1, TIME_MAX - 1, TIME_MAX + 1, 2**64 - 1):
        assert not key.verifier_key.verifies(TEXT, other.to_bytes(8) + signature[8:])
    for short in range(len(signature)):
        assert not key.verifier_key.verifies(TEXT, signature[:short])
    late = TIME_MAX + 1
    signed_late = SignerKey("w.example", KeyKind.LOG, key.private_bytes).sign(f"cosignature/v1\ntime {late}\n{TEXT}")
    assert not key.verifier_key.verifies(TEXT, late.to_bytes(8) + signed_late)
    for time in (-1, TIME_MAX + 1):
        with pytest.raises(ValueError, match="cannot be of the time"):
            key.cosign(TEXT, time)


@pytest.mark.parametrize("kind", KeyKind)
def test_keys_and_their_texts(kind: KeyKind) -> None:
    key = SignerKey.generate("log.example/a", kind)
    assert parse_signer_key(key.secret_text()) == key
    assert parse_verifier_key(str(key.verifier_key)) == key.verifier_key
    renamed = key.named("log.example/b").verifier_key
    assert (renamed.name, renamed.public_bytes) == ("log.example/b", key.verifier_key.public_bytes)
    assert renamed.id != key.verifier_key.id


def test_no_secret_is_shown() -> None:
    key = parse_signer_key(PETER_SECRET)
    secret = PETER_SECRET.rpartition("+")[2]
    assert secret not in f"{key} {key!r}"
    for text in (PETER_SECRET[:-1], PETER_SECRET + "A", PETER_SECRET.replace("c74f", "c75f"), secret):
        with pytest.raises(UnusableKeyError) as raised:
            parse_signer_key(text)
        assert not re.search(secret[:8], str(raised.value))
        assert raised.value.__cause__ is None


def test_every_changed_or_cut_key_is_found() -> None:
    for text, parse in ((PETER, parse_verifier_key), (PETER_SECRET, parse_signer_key)):
        parts = [text[start:end] for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
        changed = [text[:place] + chr(ord(text[place]) + 1) + text[place + 1 :] for place in range(len(text))]
        for other in [part for part in parts if part != text] + changed:
            with pytest.raises(UnusableKeyError):
                parse(other)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "not 32 bytes|base64"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "kind that is not known"),
        (PETER.replace("c74f20a3", "C74F20A3"), "key ID is not that"),
        (f" {PETER}", "no name"),
        (f"\udcff{PETER}", "no name"),  # what a byte on the command line is that is not UTF-8
        (PETER.replace("PeterNeumann", ""), "no name"),
        (f"{PETER}\n", "base64"),
        ("", "a name, a key ID and base64"),
    ],
)
def test_what_is_no_verifier_key(key: str, said: str) -> None:
    with pytest.raises(UnusableKeyError, match=said):
        parse_verifier_key(key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb", "a\nb", "a\N{NO-BREAK SPACE}b", "a\x01b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UnusableKeyError, match="no name"):
        VerifierKey(name, KeyKind.LOG, bytes(32))
    with pytest.raises(UnusableKeyError, match="no name"):
        SignerKey(name, KeyKind.LOG, bytes(32))


def test_keys_have_their_length() -> None:
    for length in (0, 31, 33, 64):
        with pytest.raises(UnusableKeyError, match="not 32 bytes"):
            VerifierKey("a", KeyKind.LOG, bytes(length))
        with pytest.raises(UnusableKeyError, match="not 32 bytes"):
            SignerKey("a", KeyKind.LOG, bytes(length))
