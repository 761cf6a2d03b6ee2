"""Checkpoints: their form, to the byte."""

import pytest

from service.proofs.checkpoints import Checkpoint, parse_checkpoint, sign_checkpoint
from service.proofs.errors import MalformedTextError
from service.proofs.keys import SignerKey
from service.proofs.notes import parse_note, signatures_by
from service.proofs.tree import EMPTY_ROOT, SIZE_MAX
from tests.support.log_verifier import check_checkpoint

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
TEXT = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"  # the example of the specification


def test_the_example_of_the_specification() -> None:
    checkpoint = parse_checkpoint(TEXT)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert (checkpoint.root.hex()[:8], checkpoint.extensions) == ("0ac5186a", ())
    assert str(checkpoint) == TEXT


@pytest.mark.parametrize(
    "text", [f"a log\n0\n{ROOT}\n", f"a+b\n{SIZE_MAX}\n{ROOT}\n", f"a\n10\n{ROOT}\none\nand another\n"]
)
def test_what_a_checkpoint_may_be(text: str) -> None:
    assert str(parse_checkpoint(text)) == text


@pytest.mark.parametrize(
    "size", ["00", "01", "+1", "-1", "1 ", "1.0", "1e3", "0x1", "١", "", str(SIZE_MAX + 1), "9" * 5000]
)
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(MalformedTextError, match=r"decimal number|empty"):
        parse_checkpoint(f"a\n{size}\n{ROOT}\n")


@pytest.mark.parametrize(
    "root", ["", ROOT[:-1], ROOT[:-2] + "J=", "-" + ROOT[1:], ROOT * 2, ROOT[4:], f"{ROOT} ", "AAAA" + ROOT]
)
def test_what_is_no_root(root: str) -> None:
    with pytest.raises(MalformedTextError, match=r"base64|bytes|empty"):
        parse_checkpoint(f"a\n1\n{root}\n")


@pytest.mark.parametrize("text", [
    "", "\n", "a\n1\n", f"\n1\n{ROOT}\n", f"a\n1\n{ROOT}", f"a\n1\n{ROOT}\n\n", f"a\n1\n{ROOT}\n\nmore\n",
    f"a\r\n1\r\n{ROOT}\r\n",
])  # fmt: skip
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(MalformedTextError):
        parse_checkpoint(text)


def test_a_signed_checkpoint() -> None:
    key = SignerKey.generate("log.example")
    checkpoint = Checkpoint("log.example", 0, EMPTY_ROOT)
    note = sign_checkpoint(checkpoint, key)
    assert parse_checkpoint(parse_note(str(note)).text) == checkpoint
    assert list(signatures_by(note, [key.verifier_key])) == [key.verifier_key]
    assert check_checkpoint(str(note).encode(), str(key.verifier_key)) == (("log.example", 0, EMPTY_ROOT), [])


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 0, EMPTY_ROOT),
        Checkpoint("log.example\n5", 0, EMPTY_ROOT),
        Checkpoint("a", -1, EMPTY_ROOT),
        Checkpoint("a", SIZE_MAX + 1, EMPTY_ROOT),
        Checkpoint("a", 0, EMPTY_ROOT[1:]),
        Checkpoint("a", 0, EMPTY_ROOT, ("",)),
        Checkpoint("a", 0, EMPTY_ROOT, ("one\ntwo",)),
    ],
)
def test_what_is_no_checkpoint_is_not_signed(checkpoint: Checkpoint) -> None:
    with pytest.raises(MalformedTextError):
        sign_checkpoint(checkpoint, SignerKey.generate("a"))
