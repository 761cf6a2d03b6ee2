"""Tiles: the hash of every complete subtree is made of what its slice holds."""

import pytest

from service.proofs.tiles import TILE_HASHES, TileSlice, slice_of
from service.proofs.tree import Node, leaf_hash, root_of

LEAVES = [leaf_hash(str(number).encode()) for number in range(3 * TILE_HASHES)]


def tile(level: int, index: int) -> list[bytes]:
    first = index * TILE_HASHES
    if level == 0:
        return LEAVES[first : first + TILE_HASHES]
    roots = [root_of(tile(0, below)) for below in range(len(LEAVES) // TILE_HASHES)]
    return roots[first : first + TILE_HASHES]


@pytest.mark.parametrize("level", range(10))
def test_a_node_is_made_of_its_slice(level: int) -> None:
    for index in range(len(LEAVES) >> level):
        found = slice_of(Node(level, index))
        hashes = tile(found.level, found.index)[found.start : found.start + found.count]
        assert root_of(hashes) == root_of(LEAVES[index << level : (index + 1) << level])


def test_the_roots_of_full_tiles_stand_in_the_tile_above() -> None:
    assert slice_of(Node(8, 300)) == TileSlice(level=1, index=1, start=44, count=1)
