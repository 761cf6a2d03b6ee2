"""Rejections as callers are told of them."""

from typing import Any

import msgspec

from service.domain.rejections import Rejection


def told(rejection: Rejection) -> dict[str, Any]:
    """Return the members of the problem that explain ``rejection``, as JSON has them."""
    members: dict[str, Any] = msgspec.to_builtins(rejection.members())
    return members
