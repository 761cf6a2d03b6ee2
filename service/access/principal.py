"""Who is calling, once it is proved, and what they may do."""

from msgspec import Struct

from service.access.usage import ClientUsage
from service.domain.rights import DebitLimit

SCOPES = ("transfers:write", "accounts:write", "read", "audit", "admin")
READ = "read"
AUDIT = "audit"
"""The scope that includes ``read``, and shows what was not applied of every client's requests."""
ADMIN = "admin"
"""The scope that includes all others."""
LIMITED_SCOPES = frozenset({"transfers:write", READ, AUDIT})
"""What a caller can have that may debit certain accounts only: who changes accounts and their codes changes that."""
ADMIN_CLIENT = "admin"
"""The client of the token in the settings."""


class Principal(Struct, frozen=True):
    """The caller: ``client`` owns its idempotency keys; ``ledgers`` are names, None for every ledger. ``usage`` is what
    all callers of the client ask for now. ``debit_limit`` says which accounts it may debit, None for any.
    """

    client: str
    scopes: frozenset[str]
    ledgers: frozenset[str] | None
    usage: ClientUsage
    debit_limit: DebitLimit | None = None

    def may(self, scope: str) -> bool:
        """Whether the token has ``scope``; audit includes read, and admin all."""
        return scope in self.scopes or ADMIN in self.scopes or (scope == READ and AUDIT in self.scopes)

    @property
    def not_applied_of(self) -> str | None:
        """Whose requests the token sees that were not applied: its own client's; None for every client's."""
        return None if self.may(AUDIT) else self.client

    def sees(self, ledger: str) -> bool:
        """Whether the token is for the ledger of this name."""
        return self.ledgers is None or ledger in self.ledgers
