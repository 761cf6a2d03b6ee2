"""The tree: roots and proofs against the recursive definitions of RFC 9162: every small size, and random large ones."""

import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest

from service.proofs.tree import (
    EMPTY_ROOT,
    PATH_LENGTH_MAX,
    SIZE_MAX,
    Frontier,
    Node,
    combine,
    consistency_nodes,
    inclusion_nodes,
    leaf_hash,
    node_hash,
    proof_hashes,
    root_nodes,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.support.log_verifier import ReferenceTree, UnprovenError, check_consistency, root_of_path

SIZE = 300
ENTRIES = [f"entry {number}".encode() * (number % 4) for number in range(SIZE)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
REFERENCE = ReferenceTree(ENTRIES)


@cache
def hash_at(node: Node) -> bytes:
    """The hash of a complete subtree of the 300 entries."""
    level, index = node.level, node.index
    if level == 0:
        return LEAVES[index]
    return node_hash(hash_at(Node(level - 1, 2 * index)), hash_at(Node(level - 1, 2 * index + 1)))


# The hashes of 0 to 8 leaves that implementations of RFC 6962 have shared since Certificate Transparency's first one
# (github.com/transparency-dev/merkle, testonly/constants.go).
RFC_6962_LEAVES = (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)  # fmt: skip
RFC_6962_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_that_everybody_has(size: int) -> None:
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in RFC_6962_LEAVES[:size]]
    assert root_of(leaves).hex() == RFC_6962_ROOTS[size]


def test_a_leaf_is_no_node() -> None:
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_the_frontier_gives_the_root_of_every_size() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES):
        assert (frontier.size, frontier.root()) == (size, REFERENCE.root(size))
        assert frontier.hashes == tuple(hash_at(node) for node in root_nodes(size))
        frontier.append(leaf)


def test_a_frontier_goes_on_from_what_was_kept_of_it() -> None:
    kept = Frontier()
    for leaf in LEAVES[:200]:
        kept.append(leaf)
    frontier = Frontier(kept.size, kept.hashes)
    for leaf in LEAVES[200:]:
        frontier.append(leaf)
    assert frontier.root() == REFERENCE.root(SIZE)
    assert kept.root() == REFERENCE.root(200)


def test_a_frontier_takes_complete_subtrees() -> None:
    frontier = Frontier()
    for node in (Node(7, 0), Node(6, 2), Node(6, 3), Node(5, 8), Node(3, 36), Node(2, 74)):
        frontier.append(hash_at(node), node.level)
    assert (frontier.size, frontier.root()) == (SIZE, REFERENCE.root(SIZE))


def test_a_frontier_takes_no_subtree_that_would_not_be_complete() -> None:
    frontier = Frontier()
    frontier.append(LEAVES[0])
    with pytest.raises(ValueError, match="level 1 does not begin after 1 leaves"):
        frontier.append(LEAVES[1], 1)
    with pytest.raises(ValueError, match="3 leaves is not made of 1"):
        Frontier(3, LEAVES[:1])


def test_inclusion_of_every_entry_in_every_size() -> None:
    for size in range(1, SIZE + 1):
        root = REFERENCE.root(size)
        for index in range(size):
            proof = proof_hashes(inclusion_nodes(index, size), hash_at)
            assert proof == REFERENCE.path(index, size)
            assert verify_inclusion(index, size, LEAVES[index], proof, root)
    assert root_of_path(index, size, LEAVES[index], proof) == root


RANDOM = random.Random(9162)
PAIRS = [(old, new) for new in range(71) for old in range(new + 1)]
PAIRS += [(min(pair), max(pair)) for pair in ([RANDOM.randint(0, SIZE) for _ in range(2)] for _ in range(2000))]


def test_consistency_of_sizes() -> None:
    for old, new in PAIRS:
        proof = proof_hashes(consistency_nodes(old, new), hash_at)
        if old:
            assert proof == REFERENCE.proof(old, new)
        assert verify_consistency(old, new, proof, REFERENCE.root(old), REFERENCE.root(new))
        check_consistency(old, new, proof, REFERENCE.root(old), REFERENCE.root(new))


def without(path: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Paths that are not ``path``: one hash missing, twice, or with a bit turned; or a neighbour exchanged."""
    found = []
    for place, hash_ in enumerate(path):
        turned = bytes([hash_[0] ^ 1]) + hash_[1:]
        found += [[*path[:place], *put, *path[place + 1 :]] for put in ([], [hash_, hash_], [turned], [hash_[:-1]])]
    for place, (one, other) in enumerate(pairwise(path)):
        if one != other:
            found.append([*path[:place], other, one, *path[place + 2 :]])
    return [*found, [*path, LEAVES[0]], [LEAVES[0], *path]]


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 2), (6, 7), (5, 8), (64, 65), (13, 300), (299, 300)])
def test_no_other_path_proves_inclusion(index: int, size: int) -> None:
    leaf, root = LEAVES[index], REFERENCE.root(size)
    path = REFERENCE.path(index, size)
    assert verify_inclusion(index, size, leaf, path, root)
    assert not any(verify_inclusion(index, size, leaf, other, root) for other in without(path))
    assert not any(verify_inclusion(other, size, leaf, path, root) for other in range(-1, size + 2) if other != index)
    assert not verify_inclusion(index, size, LEAVES[index - 1 if index else 1], path, root)
    assert not verify_inclusion(index, size, leaf, path, LEAVES[9])


@pytest.mark.parametrize(
    ("old", "new"), [(0, 0), (0, 5), (1, 1), (1, 2), (3, 7), (4, 7), (6, 7), (8, 8), (7, 8), (256, 300)]
)
def test_no_other_path_proves_consistency(old: int, new: int) -> None:
    roots = REFERENCE.root(old), REFERENCE.root(new)
    path = REFERENCE.proof(old, new) if old else []
    assert verify_consistency(old, new, path, *roots)
    assert not any(verify_consistency(old, new, other, *roots) for other in without(path))
    assert not verify_consistency(old, new, path, LEAVES[9], roots[1])
    assert old == 0 or not verify_consistency(old, new, path, roots[0], LEAVES[9])
    assert old == new or not verify_consistency(new, old, path, *reversed(roots))


@pytest.mark.parametrize("call", [
    lambda: inclusion_nodes(-1, 3), lambda: inclusion_nodes(3, 3), lambda: inclusion_nodes(0, SIZE_MAX + 1),
])  # fmt: skip
def test_there_is_no_path_to_what_is_not_there(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="there is no leaf"):
        call()


@pytest.mark.parametrize(("old", "new"), [(-1, 3), (4, 3), (0, SIZE_MAX + 1)])
def test_a_tree_does_not_shrink(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="does not grow"):
        consistency_nodes(old, new)


class VirtualTree:
    """A tree of any size whose leaves are the same, but for some; ``read`` are the nodes that were looked at."""

    def __init__(self, leaves: dict[int, bytes]) -> None:
        self._leaves = leaves
        self._same = [leaf_hash(b"as all others")]
        for _ in range(PATH_LENGTH_MAX):
            self._same.append(node_hash(self._same[-1], self._same[-1]))
        self.hash_of = cache(self._hash_of)

    def _hash_of(self, node: Node) -> bytes:
        level, index = node.level, node.index
        if not any(leaf >> level == index for leaf in self._leaves):
            return self._same[level]
        if level == 0:
            return self._leaves[index]
        return node_hash(self.hash_of(Node(level - 1, 2 * index)), self.hash_of(Node(level - 1, 2 * index + 1)))

    def root(self, size: int) -> bytes:
        return combine([self.hash_of(node) for node in root_nodes(size)])


SIZES_LARGE = [RANDOM.randint(2, 2**40) for _ in range(20)] + [2**40, 2**40 - 1, 2**40 + 1, SIZE_MAX, SIZE_MAX - 1]


@pytest.mark.parametrize("size", SIZES_LARGE)
def test_large_trees(size: int) -> None:
    indices = [0, size - 1, *(RANDOM.randrange(size) for _ in range(5))]
    olds = [1, size // 2 + 1, size - 1, *(RANDOM.randrange(1, size) for _ in range(10))]
    marked = {place for at in [*indices, *olds] for place in (at - 1, at, at + 1, at ^ 64, at ^ 2**30)}
    tree = VirtualTree({place: leaf_hash(str(place).encode()) for place in marked if 0 <= place < size})
    root = tree.root(size)
    for index in indices:
        leaf = tree.hash_of(Node(0, index))
        path = proof_hashes(inclusion_nodes(index, size), tree.hash_of)
        assert len(path) <= PATH_LENGTH_MAX
        assert verify_inclusion(index, size, leaf, path, root)
        assert root_of_path(index, size, leaf, path) == root
        assert not verify_inclusion(index, size, leaf, path[1:], root)
    for old in olds:
        needed = consistency_nodes(old, size)
        path = proof_hashes(needed, tree.hash_of)
        assert len(path) <= PATH_LENGTH_MAX
        assert len({node for nodes in needed for node in nodes}) <= 2 * PATH_LENGTH_MAX
        assert verify_consistency(old, size, path, tree.root(old), root)
        check_consistency(old, size, path, tree.root(old), root)
        with pytest.raises(UnprovenError):
            check_consistency(old, size, path, tree.root(old), EMPTY_ROOT)
