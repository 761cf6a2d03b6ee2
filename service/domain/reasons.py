"""Why something is not done, as a value: the base of what the rules reject and of what HTTP refuses."""

import re
from functools import cache
from typing import Any, ClassVar

from msgspec import UNSET, Struct, structs


def code_of(class_name: str) -> str:
    """Return the code that a class stands for: ``InsufficientFunds`` is insufficient_funds."""
    return re.sub(r"\B([A-Z])", r"_\1", class_name).lower()


class Reason(Struct, frozen=True, gc=False, tag_field="code", tag=code_of):
    """A reason has a ``code``, which follows from the name of its class, and fields that explain it."""

    code: ClassVar[str]

    def __init_subclass__(cls, **config: Any) -> None:
        super().__init_subclass__(**config)
        cls.code = code_of(cls.__name__)

    def members(self) -> dict[str, Any]:
        """Return what explains the reason, by name, in the order of the fields and without what is UNSET."""
        members = structs.asdict(self)
        if not _may_lack_some(type(self)):
            return members
        return {name: value for name, value in members.items() if value is not UNSET}


@cache  # to look at every value costs more than all the rest, and few types can lack one
def _may_lack_some(reason: type[Reason]) -> bool:
    return any(field.default is UNSET for field in structs.fields(reason))
