"""How often each token is used: counted in memory, and added to the database from time to time, by no request."""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from service.errors import StorageError
from service.storage.repositories import Repositories
from service.storage.repositories.token_uses import Uses
from service.storage.transactions import Transactions

WRITE_INTERVAL_SECONDS = 60.0
"""How often counts are written, and how many seconds of them are lost when a process is killed."""
STOP_SECONDS_MAX = 2.0
"""How long the last write may take, when the service stops."""
_KEPT_SECONDS = 3600.0
"""How long a token that is not used stays in memory."""


class TokenUse:
    """The requests of a token since they were last written, and when the last one came on the clock of ``TokenUses``.

    Those of the token in the settings and of an issuer's tokens have no ``token_id`` and are never written: these are
    no rows of the database.
    """

    __slots__ = ("last_at", "requests", "token_id")

    def __init__(self, token_id: UUID | None, at: float) -> None:
        self.token_id = token_id
        self.requests = 0
        self.last_at = at

    def count(self, at: float) -> None:
        """Count one request."""
        self.requests += 1
        self.last_at = at


class TokenUses:
    """The uses of every token that was used in the last hour."""

    def __init__(self, transactions: Transactions, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._transactions = transactions
        self._clock = clock
        self._uses: dict[UUID, TokenUse] = {}

    def of(self, token_id: UUID, at: float) -> TokenUse:
        """Return where the uses of a token are counted. Whoever keeps it asks again within an hour."""
        use = self._uses.get(token_id)
        if use is None:
            use = self._uses[token_id] = TokenUse(token_id, at)
        use.last_at = at
        return use

    def forget_idle(self) -> None:
        """Forget the tokens that were not used in the last hour, but for what is still to be written."""
        begin = self._clock() - _KEPT_SECONDS
        self._uses = {one: use for one, use in self._uses.items() if use.requests or use.last_at > begin}

    async def write(self) -> None:
        """Add what was counted to the database. Several processes add up.

        Raises StorageError: the counts are kept for the next time, unless it is not known whether they were added.
        Then they are not added again: a count may be too small, never too large.
        """
        self.forget_idle()
        now = self._clock()
        counted = [
            (use, Uses(token_id, use.requests, timedelta(seconds=max(0.0, now - use.last_at))))
            for token_id, use in self._uses.items()
            if use.requests
        ]
        if not counted:
            return
        new = [uses for _, uses in counted]
        for use, _ in counted:
            use.requests = 0
        try:
            await self._transactions.run(
                lambda session: Repositories(session).token_uses.add(new), again_in_doubt=False
            )
        except StorageError as error:
            if not error.in_doubt:
                for use, uses in counted:
                    use.requests += uses.requests
            raise
