"""What one client may ask for: the bucket of a second, and requests at a time."""

import pytest

from service.access.usage import ClientLimits
from service.api.http.problems import rate_headers
from service.errors import RateLimitedError
from service.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_second_and_fills_steadily() -> None:
    clock = Clock()
    usage = ClientLimits(Settings(client_requests_per_second=4), clock=clock).of("a")
    told = [rate_headers(*usage.spend())["RateLimit"] for _ in range(4)]
    assert told == [f'"client";r={left};t=1' for left in (3, 2, 1, 0)]
    with pytest.raises(RateLimitedError) as caught:
        usage.spend()
    assert caught.value.per_second == 4
    assert rate_headers(4, left=0) == {"RateLimit-Policy": '"client";q=4;w=1', "RateLimit": '"client";r=0;t=1'}
    clock.now += 0.25
    usage.spend()
    with pytest.raises(RateLimitedError):
        usage.spend()
    clock.now += 60
    assert rate_headers(*usage.spend())["RateLimit"] == '"client";r=3;t=1'


def test_no_rate_is_no_limit() -> None:
    assert not ClientLimits(Settings()).of("a").rated


def test_clients_are_counted_apart() -> None:
    limits = ClientLimits(Settings(client_requests_max=1))
    assert limits.of("a") is limits.of("a")
    with limits.of("a"), limits.of("b"), pytest.raises(RateLimitedError), limits.of("a"):
        pass
    with limits.of("a"):
        pass


def test_clients_that_ask_for_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer names as many as it likes. Who asks for something, or has just done so, is kept."""
    monkeypatch.setattr("service.access.usage._CLIENTS_MAX", 100)
    clock = Clock()
    limits = ClientLimits(Settings(client_requests_per_second=2), clock=clock)
    busy, spent = limits.of("busy"), limits.of("spent")
    with busy:
        for number in range(10_000):
            spent.spend()
            limits.of(f"client {number}")
            clock.now += 0.5
        assert len(limits._usage) <= 100
        assert limits.of("busy") is busy
        assert limits.of("spent") is spent
