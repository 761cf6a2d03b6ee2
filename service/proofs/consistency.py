"""Consistency proofs as texts: that the log at one size is the beginning of the log at a larger one. There is no common
form for them but inside requests to witnesses, so the form is our own (service/docs/log.md).
"""

from dataclasses import dataclass

from .errors import MalformedTextError
from .lines import check_text, read_labelled_number, read_path, write_path

HEADER = "funds/consistency-proof@v1"
_LINES_MIN = 3


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """The hashes that lead from the roots of two sizes to each other. ``str`` is the proof as it is kept and sent."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"{HEADER}\nold {self.old_size}\nnew {self.new_size}\n{write_path(self.path)}"


def parse_consistency_proof(proof: str) -> ConsistencyProof:
    """Return the parts of a proof, of which nothing is verified. Raises MalformedTextError."""
    check_text(proof, "consistency proof")
    lines = proof.split("\n")[:-1]
    if len(lines) < _LINES_MIN or lines[0] != HEADER:
        raise MalformedTextError(f"The consistency proof does not begin with the line “{HEADER}” and two sizes.")
    _, old_size, new_size, *path = lines
    return ConsistencyProof(
        old_size=read_labelled_number(old_size, "old", "consistency proof"),
        new_size=read_labelled_number(new_size, "new", "consistency proof"),
        path=read_path(path, "consistency proof"),
    )
