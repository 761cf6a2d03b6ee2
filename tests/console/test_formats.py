"""How pages write amounts and times."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.console.formats import moment, money, number, rough, short, words


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "USD", "0.00"),
        (5, "USD", "0.05"),
        (123456, "USD", "1,234.56"),
        (-123456, "USD", "−1,234.56"),
        (-5, "USD", "−0.05"),
        (1234567, "JPY", "1,234,567"),
        (1234567, "KWD", "1,234.567"),
        (-999, "KWD", "−0.999"),
        (2**63 - 1, "USD", "92,233,720,368,547,758.07"),
        ("123456789012345678901234567890", "USD", "1,234,567,890,123,456,789,012,345,678.90"),
        (123456, "XXX", "123,456"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: int | str, currency: str, text: str) -> None:
    assert money(amount, currency) == text


def test_whole_numbers_are_grouped() -> None:
    assert [number(0), number(999), number(1000), number(-1234567)] == ["0", "999", "1,000", "−1,234,567"]


def test_scales_are_short() -> None:
    assert [rough(0), rough(999), rough(1500), rough(-2_000_000), rough(10.0**18)] == [
        "0",
        "999",
        "1.5k",
        "−2M",
        "1e+03P",
    ]


def test_times_are_in_utc_with_a_readable_day() -> None:
    east = datetime(2026, 1, 2, 1, 2, 3, 45, timezone(timedelta(hours=3)))
    assert "1 Jan 2026, 22:02:03<" in moment(east)
    assert "1 Jan 2026, 22:02:03.000045<" in moment(east, fraction=True)
    assert 'datetime="2026-01-01T22:02:03.000045Z"' in moment(east)
    assert moment(None) == "—"
    assert moment(datetime(2026, 11, 28, tzinfo=UTC)).startswith("<time ")


def test_names_are_shortened_to_what_tells_them_apart() -> None:
    assert short("01a22030-328a-7c2d-8000-350b5d3dc789") == "5d3dc789"
    assert words("insufficient_funds") == "Insufficient funds"
