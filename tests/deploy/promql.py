"""What PromQL expressions name: metrics, their labels and the values of these."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TEXT = r'"(?:[^"\\]|\\.)*"'
_SELECTOR = re.compile(rf"(\w+)\s*\{{((?:[^{{}}\"]|{_TEXT})*)\}}")
_MATCHER = re.compile(rf"(\w+)\s*(=~|!~|!=|=)\s*({_TEXT})")
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_NAME = re.compile(r"(?<![\w$.])[A-Za-z_]\w*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Matcher:
    """What a selector asks of a label; ``value`` is a text, or the pattern of one."""

    label: str
    operator: str
    value: str

    def is_about(self, values: set[str]) -> bool:
        """Whether everything that is asked for, each alternative of a pattern, is one of the ``values``."""
        if "~" not in self.operator:
            return self.value in values
        return all(any(re.fullmatch(one, value) for value in values) for one in self.value.split("|"))


def selectors(expression: str) -> Iterator[tuple[str, list[Matcher]]]:
    """Yield every metric that ``expression`` names, with what it asks of the labels."""
    for found in _SELECTOR.finditer(expression):
        matchers = [Matcher(label, how, text[1:-1]) for label, how, text in _MATCHER.findall(found[2])]
        yield found[1], matchers
    rest = _SELECTOR.sub(" ", expression)
    for pattern in (_LABEL_LIST, _RANGE, re.compile(_TEXT)):
        rest = pattern.sub(" ", rest)
    for name in _NAME.findall(rest):
        if name not in _WORDS:
            yield name, []


def grouped_by(expression: str) -> set[str]:
    """The labels that ``expression`` joins or adds up by."""
    return {label.strip() for found in _LABEL_LIST.findall(expression) for label in found.split(",")} - {""}
