"""Metrics of HTTP requests, named and bounded as OpenTelemetry's stable conventions say."""

from collections.abc import Sequence
from functools import cache
from itertools import product

from service.telemetry.instruments import OTHER, Counter, Histogram
from service.telemetry.records import METHODS, OTHER_METHOD, UNMATCHED

DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class HttpMetrics:
    """How long requests took, by method, route and status; the problems that were answered, by code."""

    def __init__(self, routes: Sequence[str], statuses: Sequence[int], codes: Sequence[str]) -> None:
        methods = (*sorted(METHODS), OTHER_METHOD)
        known = {one: (*one[:2], str(one[2])) for one in product(methods, (*routes, UNMATCHED), statuses)}
        self._durations = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests, from the end of their head to the end of their answer.",
            DURATION_BOUNDS,
            ("http_request_method", "http_route", "http_response_status_code"),
            list(known.values()),
            sparse=True,
        )
        self._places = {one: self._durations.place_of(labels) for one, labels in known.items()}
        self._other_place = self._durations.place_of((OTHER, OTHER, OTHER))
        self._problems = Counter(
            "funds_problems_total",
            "Problems answered, by code: refused tokens and requests, and everything that failed.",
            ("code",),
            [(code,) for code in codes],
        )

    def note(self, method: str, route: str, status: int, code: str | None, seconds: float) -> None:
        """Count a request that was answered."""
        self._durations.observe_at(self._places.get((method, route, status), self._other_place), seconds)
        if code is not None:
            self._problems.add(code)


@cache
def http_metrics(routes: tuple[str, ...], statuses: tuple[int, ...], codes: tuple[str, ...]) -> HttpMetrics:
    """Return the metrics of an application with these routes; a process has them once."""
    return HttpMetrics(routes, statuses, codes)
