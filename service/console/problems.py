"""Problems as pages tell them."""

from typing import Any

import msgspec

from service.wire.problems import Problem


def code_of(problem: Problem) -> str:
    """Return the code that tells ``problem`` from others."""
    return str(problem.__struct_config__.tag)


def members_of(problem: Problem) -> dict[str, Any]:
    """Return what ``problem`` says beside what every problem says: the numbers behind it."""
    members: dict[str, Any] = msgspec.to_builtins(problem)
    return {name: value for name, value in members.items() if name not in {"code", *Problem.__struct_fields__}}
