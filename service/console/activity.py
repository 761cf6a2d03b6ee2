"""The activity of a ledger: its latest transfers by value date, a bar for some time."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from service.console.charts import Bars, bars, begin_of, bucket_of
from service.console.formats import moment_text, money, number
from service.domain.currencies import MINOR_UNIT_EXPONENTS
from service.wire.views import TransferView

_CURRENCIES_MAX = 2
"""Of how many currencies the volume is drawn: those of most transfers."""


class Activity(Struct, frozen=True):
    """A chart of activity, and what it shows."""

    title: str
    chart: Bars


def activity(transfers: Sequence[TransferView]) -> list[Activity]:
    """Return the charts of ``transfers``: how many there were, and what they moved in their commonest currencies."""
    if not transfers:
        return []
    dates = [transfer.effective_at for transfer in transfers]
    bucket = bucket_of(min(dates), max(dates))
    begin, last = begin_of(min(dates), bucket), begin_of(max(dates), bucket)
    begins = [begin + bucket * index for index in range((last - begin) // bucket + 1)]
    counts = Counter(begin_of(date, bucket) for date in dates)
    length = _words(bucket)
    charts = [
        Activity(
            f"Transfers each {length}",
            bars(
                [(time, counts[time]) for time in begins],
                bucket,
                [f"{moment_text(time)}: {number(counts[time])} transfers" for time in begins],
            ),
        )
    ]
    for currency, _ in Counter(one.currency for one in transfers).most_common(_CURRENCIES_MAX):
        sums: Counter[object] = Counter()
        for one in transfers:
            if one.currency == currency:
                sums[begin_of(one.effective_at, bucket)] += one.amount
        major = 10 ** MINOR_UNIT_EXPONENTS.get(currency, 0)
        charts.append(
            Activity(
                f"{currency} moved each {length}",
                bars(
                    [(time, sums[time] / major) for time in begins],
                    bucket,
                    [f"{moment_text(time)}: {money(sums[time], currency)} {currency}" for time in begins],
                ),
            )
        )
    return charts


def _words(bucket: timedelta) -> str:
    """Return how long a bucket is, behind "each"."""
    seconds = int(bucket.total_seconds())
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count, rest = divmod(seconds, size)
        if count and not rest:
            return name if count == 1 else f"{count} {name}s"
    raise AssertionError("a bucket has whole seconds")
