"""Who is calling, once it is proved, and what they may do."""

from msgspec import Struct

from service.access.usage import ClientUsage

SCOPES = ("transfers:write", "accounts:write", "read", "admin")
ADMIN = "admin"
"""The scope that includes all others."""
ADMIN_CLIENT = "admin"
"""The client of the token in the settings."""


class Principal(Struct, frozen=True):
    """The caller: ``client`` owns its idempotency keys; ``ledgers`` are names, None for every ledger. ``usage`` is what
    all callers of the client ask for now.
    """

    client: str
    scopes: frozenset[str]
    ledgers: frozenset[str] | None
    usage: ClientUsage

    def may(self, scope: str) -> bool:
        """Whether the token has ``scope``; admin has them all."""
        return scope in self.scopes or ADMIN in self.scopes

    def sees(self, ledger: str) -> bool:
        """Whether the token is for the ledger of this name."""
        return self.ledgers is None or ledger in self.ledgers
