"""The documented order of the rules, read from where it is documented."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from service.domain import rejections
from service.domain.decide import decide_transfer

CODES = {name for name, _ in inspect.getmembers(rejections, inspect.isfunction) if not name.startswith("_")}

_AS_A_TRANSFER = re.compile(r"then from (\w+) on as a transfer")


def documented_order(rules: Callable[..., Any]) -> list[str]:
    """Return the codes that the docstring of ``rules`` names, in its order. Where it points at the rules of a
    transfer "from … on", those follow.
    """
    text = " ".join((rules.__doc__ or "").split())
    own, pointer, _ = text.partition(" then from ")
    codes = [word for word in re.findall(r"\w+", own) if word in CODES]
    if pointer:
        as_a_transfer = _AS_A_TRANSFER.search(text)
        assert as_a_transfer, f"{rules.__name__} points at other rules in words this does not understand"
        of_a_transfer = documented_order(decide_transfer)
        codes += of_a_transfer[of_a_transfer.index(as_a_transfer[1]) :]
    return codes
