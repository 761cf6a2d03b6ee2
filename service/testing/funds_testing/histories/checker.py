"""The checker: every rule, asked of one history and of what stands in the end."""

from collections.abc import Sequence

from funds_testing.histories import accounts
from funds_testing.histories.calls import Call
from funds_testing.histories.findings import Finding
from funds_testing.histories.keys import Keys, by_key
from funds_testing.histories.lines import lines_of
from funds_testing.histories.order import order, reads, windows
from funds_testing.histories.standing import Standing


def check(calls: Sequence[Call], standing: Standing) -> list[Finding]:
    """Return what no correct service can have answered; nothing where all is well.

    ``calls`` are all calls of all callers, ended before ``standing`` was read; ``standing`` holds everything in the
    ledgers that they name. It takes time in proportion to both, but for sorting.
    """
    keys = Keys(by_key(calls), standing)
    lines, found = lines_of(standing), windows(keys)
    return [
        *keys.check(),
        *accounts.sums(standing, lines, keys.calls),
        *accounts.versions(lines, keys.calls),
        *accounts.bounds(lines, keys.calls),
        *accounts.ends(standing, keys.calls),
        *order(keys, found),
        *reads(keys, calls, lines, found),
    ]
