"""An independent verifier of logs: trees by the recursive definitions of RFC 9162, section 2.1, and the texts as the
pages of C2SP describe them (signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof), read by patterns.

It shares no code with ``service/proofs``, and none of its algorithms. What is wrong is an ``UnprovenError``.
"""

import re
from base64 import b64decode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class UnprovenError(Exception):
    """Something is not proven."""


def hash_of_leaf(entry: bytes) -> bytes:
    return sha256(b"\0" + entry).digest()


def _join(left: bytes, right: bytes) -> bytes:
    _demand(len(left) == len(right) == 32, "a hash has not 32 bytes")
    return sha256(b"\1" + left + right).digest()


def _demand(condition: bool, what: str) -> None:  # noqa: FBT001
    if not condition:
        raise UnprovenError(what)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


class ReferenceTree:
    """Roots and proofs of every beginning of a list of leaves, as the RFC defines them."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._leaves = [hash_of_leaf(entry) for entry in entries]
        self.hash_of_range = cache(self._hash_of_range)

    def _hash_of_range(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]), section 2.1.1."""
        if start == end:
            return sha256().digest()
        if end - start == 1:
            return self._leaves[start]
        middle = start + _split(end - start)
        return _join(self.hash_of_range(start, middle), self.hash_of_range(middle, end))

    def root(self, size: int) -> bytes:
        return self.hash_of_range(0, size)

    def path(self, index: int, size: int) -> list[bytes]:
        """PATH(index, D[0:size]), section 2.1.3.1."""
        return self._path(index, 0, size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self.hash_of_range(middle, end)]
        return [*self._path(index, middle, end), self.hash_of_range(start, middle)]

    def proof(self, old: int, new: int) -> list[bytes]:
        """PROOF(old, D[0:new]), section 2.1.4.1."""
        return self._subproof(old, 0, new, known=True)

    def _subproof(self, old: int, start: int, end: int, *, known: bool) -> list[bytes]:
        if old == end:
            return [] if known else [self.hash_of_range(start, end)]
        middle = start + _split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, known=known), self.hash_of_range(middle, end)]
        return [*self._subproof(old, middle, end, known=False), self.hash_of_range(start, middle)]


def root_of_path(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root of the tree of ``size`` leaves in which ``path`` leads up from ``leaf`` at ``index``."""
    _demand(0 <= index < size, "there is no such leaf")
    if size == 1:
        _demand(not path, "the path is too long")
        return leaf
    _demand(bool(path), "the path is too short")
    *below, sibling = path
    left_size = _split(size)
    if index < left_size:
        return _join(root_of_path(index, left_size, leaf, below), sibling)
    return _join(sibling, root_of_path(index - left_size, size - left_size, leaf, below))


def check_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of ``old`` leaves is the beginning of the one of ``new``."""
    _demand(0 <= old <= new, "the old tree is the larger one")
    if old == 0:
        _demand(not path, "the empty tree needs no path")
        _demand(old_root == sha256().digest(), "that is not the root of the empty tree")
        return
    found = _roots_of_proof(old, new, path, old_root)
    _demand(found == (old_root, new_root), "the roots are others")


def _roots_of_proof(old: int, new: int, path: Sequence[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    if old == new:
        if known is not None:
            _demand(not path, "the path is too long")
            return known, known
        _demand(len(path) == 1, "the path has another length")
        return path[0], path[0]
    _demand(bool(path), "the path is too short")
    *below, beside = path
    left_size = _split(new)
    if old <= left_size:
        first, second = _roots_of_proof(old, left_size, below, known)
        return first, _join(second, beside)
    first, second = _roots_of_proof(old - left_size, new - left_size, below, None)
    return _join(beside, first), _join(beside, second)


_NUMBER = rb"(?:0|[1-9][0-9]*)"
_HASH = rb"[A-Za-z0-9+/]{43}="
_LINE = rb"[^\x00-\x1f]+\n"
_BASE64 = rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_SIGNATURE = rb"\xe2\x80\x94 ([^\s+\x00-\x1f]+) (" + _BASE64 + rb")\n"
_BODY = rb"(" + _LINE + rb")(" + _NUMBER + rb")\n(" + _HASH + rb")\n(?:" + _LINE + rb")*"
_NOTE = re.compile(rb"(" + _BODY + rb")\n((?:\xe2\x80\x94" + _LINE + rb")+)")
_RECEIPT = re.compile(
    rb"c2sp\.org/tlog-proof@v1\n(?:extra "
    + _BASE64
    + rb"\n)?index ("
    + _NUMBER
    + rb")\n((?:"
    + _HASH
    + rb"\n)*)\n(.*)",
    re.DOTALL,
)


class Head(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes


class Found(NamedTuple):
    """Where a receipt proves an entry to be, and when witnesses saw that."""

    place: int
    head: Head
    times: list[int]


def check_checkpoint(note: bytes, vkey: str, witnesses: Sequence[str] = ()) -> tuple[Head, list[int]]:
    """Check a checkpoint that ``vkey`` signed and each of ``witnesses`` cosigned; return it and when they did."""
    parts = _NOTE.fullmatch(note)
    _demand(parts is not None, "this is no checkpoint")
    assert parts is not None
    text, origin, size, root, lines = parts.groups()
    note.decode()
    signatures = re.findall(_SIGNATURE, lines)
    _demand(b"".join(b"\xe2\x80\x94 %b %b\n" % pair for pair in signatures) == lines, "a signature has another form")
    _check_signature(signatures, vkey, 1, text)
    times = [_check_signature(signatures, witness, 4, text) for witness in witnesses]
    _demand(vkey.split("+", maxsplit=1)[0] == origin.decode().rstrip("\n"), "the key is of another log")
    return Head(origin.decode().rstrip("\n"), int(size), b64decode(root)), times


def _check_signature(signatures: Sequence[tuple[bytes, bytes]], vkey: str, kind: int, text: bytes) -> int:
    name, key_id, base64 = vkey.split("+", 2)
    data = b64decode(base64)
    _demand(data[0] == kind, "the key is of another kind")
    _demand(sha256(name.encode() + b"\n" + data).hexdigest()[:8] == key_id, "the key ID is wrong")
    made = [b64decode(value) for signer, value in signatures if signer.decode() == name]
    made = [value[4:] for value in made if value[:4].hex() == key_id]
    _demand(bool(made), f"{name} did not sign")
    for value in made:
        time, signature = (int.from_bytes(value[:8], "big"), value[8:]) if kind == 4 else (0, value)
        message = b"cosignature/v1\ntime %d\n%b" % (time, text) if kind == 4 else text
        try:
            Ed25519PublicKey.from_public_bytes(data[1:]).verify(signature, message)
        except InvalidSignature:
            raise UnprovenError(f"the signature of {name} is wrong") from None
    return time


def check_receipt(entry: bytes, receipt: bytes, vkey: str, witnesses: Sequence[str] = ()) -> Found:
    """Check that a receipt proves ``entry`` to be in the log of ``vkey``, as each of ``witnesses`` saw it."""
    parts = _RECEIPT.fullmatch(receipt)
    _demand(parts is not None, "this is no receipt")
    assert parts is not None
    index, path, checkpoint = parts.groups()
    head, times = check_checkpoint(checkpoint, vkey, witnesses)
    hashes = [b64decode(line) for line in path.splitlines()]
    _demand(root_of_path(int(index), head.size, hash_of_leaf(entry), hashes) == head.root, "the root is another")
    return Found(int(index), head, times)


def check_growth(old: bytes, new: bytes, path: Sequence[bytes], vkey: str) -> None:
    """Check that the log at the old checkpoint is the beginning of the log at the new one."""
    (before, _), (after, _) = (check_checkpoint(note, vkey) for note in (old, new))
    check_consistency(before.size, after.size, path, before.root, after.root)
