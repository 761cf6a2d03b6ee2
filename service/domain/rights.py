"""What the token behind a command may do, where the rules must know it: they decide it, because accounts change."""

from uuid import UUID

from msgspec import Struct

from service.domain.codes import stands_for


def is_account_id(text: str) -> bool:
    """Whether ``text`` can be the id of an account, spelled as the API shows it: no account has two spellings."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class DebitLimit(Struct, frozen=True):
    """Which accounts may be debited: those of ``account_ids``, and those that ``codes`` of the chart of accounts stand
    for when the command is decided on.
    """

    account_ids: frozenset[UUID] = frozenset()
    codes: tuple[str, ...] = ()

    def allows(self, account_id: UUID, code: str | None) -> bool:
        """Whether the account of this id, which has ``code`` now, may be debited."""
        if account_id in self.account_ids:
            return True
        return code is not None and any(stands_for(group, code) for group in self.codes)
