"""Recording a history while callers call."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from funds_testing.histories.calls import Call, Ending, ending_of

_KEPT = frozenset(
    {
        "id", "code", "outcome", "operation", "transfer", "hold", "problem", "debit_account_id", "credit_account_id",
        "amount", "currency", "debit_account_version", "credit_account_version", "debit_balance_after",
        "credit_balance_after", "hold_id", "reverses_id", "status", "captured_amount", "closed_debit_account_version",
        "closed_credit_account_version", "version", "debits_posted", "credits_posted", "debits_held", "credits_held",
        "balance", "available_balance", "created_at",
    }
)  # fmt: skip
"""The members of answers that the checker asks about. Names and texts are not kept: histories are long."""


class Pending:
    """A call on its way. What nobody answers stays unknown."""

    def __init__(self) -> None:
        self.ending = Ending.UNKNOWN
        self.told: Mapping[str, Any] = {}
        self.replayed = False
        self.as_of = False
        self.silent = True

    def answered(
        self, operation: str, status: int, content: Any, *, replayed: bool = False, as_of: bool = False
    ) -> None:
        """Note the answer. Raises ValueError for one that has no place in a history."""
        self.ending = ending_of(operation, status, content)
        self.told = {name: value for name, value in content.items() if name in _KEPT}
        self.replayed = replayed
        self.as_of = as_of
        self.silent = False


class Recorder:
    """Keeps the calls of all callers of a history, in the order in which they ended. For one event loop or thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self.calls: list[Call] = []

    @contextmanager
    def call(
        self,
        operation: str,
        ledger: str,
        *,
        caller: str = "",
        key: str | None = None,
        terms: Mapping[str, Any] | None = None,
    ) -> Iterator[Pending]:
        """Within, the request is sent; ``answered`` notes its answer. However it is left, the call is kept."""
        self._count += 1
        number, invoked, pending = self._count, self._clock(), Pending()
        try:
            yield pending
        finally:
            completed = None if pending.silent else self._clock()
            call = Call(
                number, caller, operation, ledger, invoked, completed, pending.ending, key, terms or {}, pending.told,
                pending.replayed, pending.as_of,
            )  # fmt: skip
            self.calls.append(call)
