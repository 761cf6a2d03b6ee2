"""A long list of groups in parts: other requests get their turn between them."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Group = TypeVar("Group", bound=Sized)


def in_parts(groups: Iterable[Group], commands_max: int) -> Iterator[list[Group]]:
    """Pack ``groups``, in order, into parts of ``commands_max`` commands at most; a larger group is a part alone."""
    part: list[Group] = []
    size = 0
    for group in groups:
        if part and size + len(group) > commands_max:
            yield part
            part, size = [], 0
        part.append(group)
        size += len(group)
    if part:
        yield part
