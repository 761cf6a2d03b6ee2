from uuid import UUID

import pytest

from service.domain.fingerprints import fingerprint


def test_a_fingerprint_is_sixteen_bytes_and_always_the_same() -> None:
    """It is stored for ever: one that came out otherwise tomorrow would break every replay."""
    assert fingerprint("post_transfer", {"amount": 10, "id": UUID(int=1)}).hex() == "859f86fe541e3886bcc2d0d773e012ac"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a", "b"), ("b", "a")),
        (("a", 1), ("a", "1")),
        (("a", None), ("a",)),
        (("a", 0), ("a", False)),
        (("a", {"k": None}), ("a", {})),
        (("a", ["b", "c"]), ("a", "b", "c")),
    ],
)
def test_different_parts_have_different_fingerprints(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_the_order_of_members_does_not_matter() -> None:
    assert fingerprint("a", {"x": 1, "y": {"p": 2, "q": 3}}) == fingerprint("a", {"y": {"q": 3, "p": 2}, "x": 1})
