"""Rejections as they stand in the column ``decisions.problem``: ``{"code", "detail", "members": {…}}``."""

from functools import reduce
from operator import or_
from typing import Any

import msgspec
from msgspec import Struct

from service.domain.rejections import REJECTIONS, InsufficientFunds, Rejection

_ANY: Any = reduce(or_, REJECTIONS)


class StoredRejection(Struct, frozen=True, gc=False):
    """What is stored of a rejection."""

    code: str
    detail: str
    members: dict[str, Any]


def stored_rejection(rejection: Rejection) -> StoredRejection:
    """Return what is stored of ``rejection``."""
    return StoredRejection(rejection.code, rejection.detail, rejection.members())


def read_rejection(problem: dict[str, Any]) -> Rejection:
    """Return the rejection that was stored as ``problem``, with the sentence that was stored."""
    members = _completed(problem["code"], problem["members"])
    fields = members | {"code": problem["code"], "detail": problem["detail"]}
    rejection: Rejection = msgspec.convert(fields, _ANY)
    return rejection


def _completed(code: str, members: dict[str, Any]) -> dict[str, Any]:
    """Return ``members`` with those that rejections of this code did not have from the beginning.

    Before there were holds, insufficient_funds told the available balance alone; it was the balance.
    """
    if code == InsufficientFunds.code and "held" not in members:
        return members | {"balance": members["available_balance"], "held": 0}
    return members
