"""Where the hash of a complete subtree is found in tiles of 256 hashes (https://c2sp.org/tlog-tiles).

A tile of level L and index N holds the hashes of the complete subtrees of level 8·L from N·256 on. The hashes of the
levels between are computed from it, and the root of a full tile is a hash of the tile above.
"""

from dataclasses import dataclass

from .tree import Node

TILE_HASHES = 256
_TILE_LEVELS = 8


@dataclass(frozen=True, slots=True)
class TileSlice:
    """``count`` hashes of a tile, from ``start`` on, of which ``tree.root_of`` makes the hash of a node."""

    level: int
    index: int
    start: int
    count: int


def slice_of(node: Node) -> TileSlice:
    """Return the hashes of which the hash of ``node`` is made; one, where it stands in a tile itself."""
    level, levels_above = divmod(node.level, _TILE_LEVELS)
    index, start = divmod(node.index << levels_above, TILE_HASHES)
    return TileSlice(level, index, start, 1 << levels_above)
