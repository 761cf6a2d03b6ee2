"""The proofs of transparency-dev/merkle's test data, right ones and wrong ones (the file names its source; one with
roots of 12 bytes is left out, because these are no hashes here).
"""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from service.proofs.tree import verify_consistency, verify_inclusion

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "merkle_vectors.json").read_text())
HASHES = [b64decode(text) for text in VECTORS["hashes"]]


@pytest.mark.parametrize(("index", "size", "path", "leaf", "root", "proven"), VECTORS["inclusion"])
def test_inclusion(index: int, size: int, path: list[int], leaf: int, root: int, *, proven: bool) -> None:
    assert verify_inclusion(index, size, HASHES[leaf], [HASHES[at] for at in path], HASHES[root]) is proven


@pytest.mark.parametrize(("old", "new", "path", "old_root", "new_root", "proven"), VECTORS["consistency"])
def test_consistency(old: int, new: int, path: list[int], old_root: int, new_root: int, *, proven: bool) -> None:
    hashes = [HASHES[at] for at in path]
    assert verify_consistency(old, new, hashes, HASHES[old_root], HASHES[new_root]) is proven
