"""The Merkle tree of RFC 9162, section 2.1 (hashing as in RFC 6962): roots, proofs, and their verification.

The hashes that are kept are those of *complete* subtrees: of 2^level leaves, of which the first is a multiple of
2^level. They never change once their leaves are there. Every other hash is of a subtree at the right edge of a tree of
some size, and is computed from complete ones: the largest that cover its leaves, combined from right to left. A proof
therefore is first a list of coordinates, to read the hashes of, and then a list of hashes:

    needed = inclusion_nodes(index, size)
    hashes = read({node for nodes in needed for node in nodes})  # a few times log2(size) of them
    proof = proof_hashes(needed, hashes.__getitem__)
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
SIZE_MAX = 2**62
"""How many leaves a tree may have: no proof about it then has more than ``PATH_LENGTH_MAX`` hashes."""
PATH_LENGTH_MAX = 63
"""How many hashes a proof may have, which is what witnesses take."""
EMPTY_ROOT = sha256().digest()
"""The root of the tree without leaves."""

_LEAF = b"\x00"
_NODE = b"\x01"


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a complete subtree: of the leaves from ``index * 2**level`` on, ``2**level`` of them."""

    level: int
    index: int


Nodes = tuple[Node, ...]
"""Complete subtrees beside each other, from left to right, that together make the subtree of one hash of a proof."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of the leaf for ``entry``."""
    return sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two hashes."""
    return sha256(_NODE + left + right).digest()


def combine(hashes: Sequence[bytes]) -> bytes:
    """Return the root above complete subtrees of falling sizes, from left to right; of none, the empty root."""
    if not hashes:
        return EMPTY_ROOT
    *others, root = hashes
    for left in reversed(others):
        root = node_hash(left, root)
    return root


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree with these leaves."""
    hashes = list(leaf_hashes)
    while len(hashes) > 1:
        alone = hashes[-1:] if len(hashes) % 2 else []  # goes up as it is
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)] + alone
    return hashes[0] if hashes else EMPTY_ROOT


class Frontier:
    """A tree that grows at its right edge: its size, and the hashes of the complete subtrees that make it, from left to
    right (one for each bit of the size). Raises ValueError for hashes that are not as many as that.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= SIZE_MAX or size.bit_count() != len(hashes):
            raise ValueError(f"a tree of {size} leaves is not made of {len(hashes)} complete subtrees")
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The hashes of the complete subtrees: those of ``root_nodes(size)``."""
        return tuple(self._hashes)

    def append(self, hash_: bytes, level: int = 0) -> None:
        """Append a leaf by its hash, or the 2^level leaves of a complete subtree by its root. Raises ValueError where
        that would not be a complete subtree: the size must be a multiple of 2^level.
        """
        if self._size % (1 << level):
            raise ValueError(f"a complete subtree of level {level} does not begin after {self._size} leaves")
        subtrees_before = self._size >> level
        while subtrees_before & 1:
            hash_ = node_hash(self._hashes.pop(), hash_)
            subtrees_before >>= 1
        self._hashes.append(hash_)
        self._size += 1 << level

    def root(self) -> bytes:
        """Return the root of the tree as it is now, in O(log size)."""
        return combine(self._hashes)


def root_nodes(size: int) -> Nodes:
    """Return the complete subtrees that make the tree of ``size`` leaves: ``combine`` makes its root of them."""
    return tuple(_cover(0, size))


def inclusion_nodes(index: int, size: int) -> list[Nodes]:
    """Return what the inclusion proof of leaf ``index`` (from 0) in the tree of ``size`` leaves is made of, in its
    order, from the leaf's sibling up (RFC 9162, section 2.1.3.1). Raises ValueError when there is no such leaf.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ValueError(f"there is no leaf {index} in a tree of {size} leaves")
    return _siblings(Node(0, index), size)


def consistency_nodes(old_size: int, new_size: int) -> list[Nodes]:
    """Return what the consistency proof between two sizes is made of, in its order (RFC 9162, section 2.1.4.1); nothing
    when they are equal or the old tree is empty. Raises ValueError when the old tree is the larger one.
    """
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise ValueError(f"a tree of {old_size} leaves does not grow to {new_size}")
    if old_size in {0, new_size}:
        return []
    last = _cover(0, old_size)[-1]
    siblings = _siblings(last, new_size)
    return [(last,), *siblings] if last.index else siblings  # a complete old tree is known by its root


def proof_hashes(needed: Sequence[Nodes], hash_of: Callable[[Node], bytes]) -> list[bytes]:
    """Return the hashes of a proof, of the hashes of the complete subtrees that it is made of."""
    return [combine([hash_of(node) for node in nodes]) for nodes in needed]


def _siblings(node: Node, size: int) -> list[Nodes]:
    """Return the siblings on the way from ``node`` to the root. Where there is none, the way goes up alone."""
    found = []
    for level in range(node.level, (size - 1).bit_length()):
        sibling = (node.index >> (level - node.level)) ^ 1
        start, end = sibling << level, min((sibling + 1) << level, size)
        if start < end:
            found.append(tuple(_cover(start, end)))
    return found


def _cover(start: int, end: int) -> list[Node]:
    """Return the largest complete subtrees with the leaves from ``start`` to before ``end``; ``start`` is a multiple of
    a power of two that is not less than their number.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return nodes


def verify_inclusion(index: int, size: int, hash_: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that ``hash_`` is that of the leaf at ``index`` (from 0) of the ``size`` leaves under
    ``root`` (RFC 9162, section 2.1.3.2).
    """
    if not 0 <= index < size <= SIZE_MAX or not _are_hashes(hash_, root, *path):
        return False
    sides = list(_sides(index, size - 1))
    if len(path) != len(sides):
        return False
    for sibling, is_left in zip(path, sides, strict=True):
        hash_ = node_hash(sibling, hash_) if is_left else node_hash(hash_, sibling)
    return hash_ == root


def verify_consistency(old_size: int, new_size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether ``path`` proves that the ``old_size`` leaves under ``old_root`` are the first of the ``new_size`` leaves
    under ``new_root`` (RFC 9162, section 2.1.4.2). The empty tree is the beginning of every tree, without a path.
    """
    if not 0 <= old_size <= new_size <= SIZE_MAX or not _are_hashes(old_root, new_root, *path):
        return False
    if old_size == new_size:
        return not path and old_root == new_root
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT
    level = (old_size & -old_size).bit_length() - 1  # of the last complete subtree of the old tree
    place, last_place = (old_size - 1) >> level, (new_size - 1) >> level
    path = path if place else [old_root, *path]  # a complete old tree is known by its root, and not repeated
    sides = list(_sides(place, last_place))
    if len(path) != 1 + len(sides):
        return False
    old = new = path[0]
    for sibling, is_left in zip(path[1:], sides, strict=True):
        if is_left:
            old = node_hash(sibling, old)
        new = node_hash(sibling, new) if is_left else node_hash(new, sibling)
    return (old, new) == (old_root, new_root)


def _sides(place: int, last_place: int) -> Iterator[bool]:
    """Yield whether each sibling on the way from ``place`` up to the root is a left one. ``last_place`` is the last one
    on the same level; what stands there without a sibling goes up alone.
    """
    while last_place:
        is_left = bool(place & 1) or place == last_place
        yield is_left
        while is_left and place and not place & 1:
            place, last_place = place >> 1, last_place >> 1
        place, last_place = place >> 1, last_place >> 1


def _are_hashes(*hashes: bytes) -> bool:
    return all(len(hash_) == HASH_BYTES for hash_ in hashes)
