"""Problems (RFC 9457) as they are answered: a type for each code, made of the catalogue when the service starts.

A problem is flat: beside the members that all problems have stand those of its reason.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from msgspec import NODEFAULT, Meta, Struct, defstruct, structs

from ..domain.reasons import Reason
from ..domain.rejections import REJECTIONS, BatchRejected, InternalError
from ..domain.rules import NOT_REMEMBERED, RULES
from .catalogue import KINDS, ProblemKind

MEDIA_TYPE = "application/problem+json"


class Problem(Struct, frozen=True, gc=False):
    """What every problem says, beside its ``code`` and what explains it."""

    type: Annotated[str, Meta(description="A path under /problems/ that serves this problem's explanation.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The path that was asked for.")]
    retryable: Annotated[bool, Meta(description="Whether the same request, with the same key, may succeed later.")]
    outcome: Annotated[
        Literal["not_applied", "unknown"],
        Meta(
            description="Of this request alone. not_applied: it certainly changed nothing (what an earlier one under"
            " the same key did is in `earlier_request`). unknown: ask again under the same key."
        ),
    ]


def _problem_type(reason: type[Reason], kind: ProblemKind) -> type[Problem]:
    """Return the type of the problems of ``reason``, which has its name and is told from others by its code."""
    fields = [field for field in structs.fields(reason) if field.name != "detail"]
    taken = {field.name for field in fields} & {"code", *Problem.__struct_fields__}
    assert not taken, f"{reason.__name__} has members that every problem has: {taken}"
    problem: Any = defstruct(
        reason.__name__,
        [
            (field.name, field.type) if field.default is NODEFAULT else (field.name, field.type, field.default)
            for field in fields
        ],
        bases=(Problem,),
        namespace={"__doc__": kind.explanation},
        module=__name__,
        tag_field="code",
        tag=reason.code,
        frozen=True,
        gc=False,
        kw_only=True,
    )
    return problem  # type: ignore[no-any-return]


PROBLEM_TYPES: dict[str, type[Problem]] = {reason.code: _problem_type(reason, kind) for reason, kind in KINDS.items()}
"""The type of the problems of every code."""


def union_of(codes: Iterable[str]) -> Any:
    """Return the union of the types of ``codes``, as msgspec decodes and describes it."""
    return reduce(or_, [PROBLEM_TYPES[code] for code in dict.fromkeys(codes)])


def codes_in(union: Any) -> list[str]:
    """Return the codes of the types in ``union``, which ``union_of`` made."""
    return [problem.__struct_config__.tag for problem in get_args(union) or (union,)]


if TYPE_CHECKING:
    AnyProblem = Problem
    ItemProblem = Problem
    StoredProblem = Problem
else:
    AnyProblem = union_of(PROBLEM_TYPES)
    ItemProblem = union_of(
        rule.code for rule in (*RULES["post_transfer"], *RULES["open_hold"], BatchRejected, InternalError)
    )
    StoredProblem = union_of(reason.code for reason in REJECTIONS if reason not in NOT_REMEMBERED)
