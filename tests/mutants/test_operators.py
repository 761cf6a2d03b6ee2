"""The changes that make mutants: each is one, and says what it is."""

from typing import Any

import pytest

from tests.mutants.operators import mutants_of, mutated_code

SOURCE = '''
LIMIT = 5


def within(value, limit=LIMIT):
    """Whether it is within."""
    if not value:
        return False
    assert value > 0
    return value <= limit and compare(value, limit)


class Counter:
    async def add(self, amount):
        try:
            self.count += amount
        except ValueError:
            raise
        await self.tell()
'''
EXPECTED = {
    "not value → value",
    "not value → not not value",
    "False → True",
    "return False → return None",
    "value <= limit → value < limit",
    "compare(value, limit) → compare(limit, value)",
    "value <= limit and compare(value, limit) → value <= limit or compare(value, limit)",
    "return value <= limit and compare(value, limit) → return None",
    "self.count += amount → pass",
    "ValueError → ()",
    "raise → pass",
    "await self.tell() → pass",
}


def test_every_change_is_found_once() -> None:
    """None in what stands outside of functions, in documentation and in assertions."""
    made = mutants_of("module.py", SOURCE)
    assert sorted(f"{mutant.was} → {mutant.now}" for mutant in made) == sorted(EXPECTED)
    assert {mutant.qualname for mutant in made} == {"within", "Counter.add"}


@pytest.mark.parametrize(("was", "value"), [("value <= limit", 5), ("False", 0), ("not value", 1)])
def test_a_changed_function_behaves_otherwise(was: str, value: int) -> None:
    names: dict[str, Any] = {"compare": lambda *_: True}
    exec(SOURCE, names)
    within = names["within"]
    before = within(value)
    mutant = next(one for one in mutants_of("module.py", SOURCE) if one.was == was)
    within.__code__ = mutated_code(mutant, SOURCE, "module.py")
    assert within(value) != before
