"""The tree of exceptions: all of them are in it, and its drawing shows all of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import errors
from service.errors import FundsError, HoldsInTheWayError

ROOT = Path(__file__).parents[1]
TREES = {
    ROOT / "service" / part / "errors.py"
    for part in ("", "client/funds_client", "proofs", "server", "testing/funds_testing", "wire")
}


def test_exceptions_stand_in_the_tree() -> None:
    elsewhere = [
        f"{path.relative_to(ROOT)}: {definition.name}"
        for path in sorted((ROOT / "service").rglob("*.py"))
        if path not in TREES
        for definition in ast.walk(ast.parse(path.read_text()))
        if isinstance(definition, ast.ClassDef)
        and any(re.search(r"(Error|Exception|Warning)$", ast.unparse(base)) for base in definition.bases)
    ]
    assert elsewhere == []


def test_the_drawing_is_the_tree() -> None:
    drawn = re.findall(r"(?m)^    (?:([│ ├└─]*) )?([A-Z]\w+Error)  ", errors.__doc__ or "")
    assert [(len(branch) // 4 + bool(branch), name) for branch, name in drawn] == list(_walk(FundsError, 0))


def _walk(kind: type[FundsError], depth: int) -> Iterator[tuple[int, str]]:
    yield depth, kind.__name__
    for child in kind.__subclasses__():
        if child.__bases__[0] is kind:
            yield from _walk(child, depth + 1)


@pytest.mark.parametrize(("message", "said"), [(None, "Something failed in the service"), ("no", "no")])
def test_the_docstring_is_the_default_message(message: str | None, said: str) -> None:
    assert str(FundsError(message)) == said


def test_a_class_that_is_raised_without_a_message_says_what_it_is() -> None:
    expected = "Expired holds reserve some of what was missing; the transaction must be taken back"
    assert str(HoldsInTheWayError([])) == expected
