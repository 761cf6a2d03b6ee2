"""What signs the checkpoints of every ledger's log: one key, under a name for each log."""

from collections.abc import Callable
from typing import Self

from service.errors import SettingsError
from service.proofs.checkpoints import Checkpoint, sign_checkpoint
from service.proofs.errors import UnusableKeyError
from service.proofs.keys import KeyKind, SignerKey, VerifierKey, parse_signer_key
from service.settings import PREFIX, Settings

Sign = Callable[[int, bytes], str]
"""Makes the signed note of a checkpoint, of its size and its root."""


class LogSigner:
    """Signs with the key of the text ``key``. The log of a ledger has the origin ``origin`` with the ledger's name
    behind a slash, and the installation's own history ``origin`` alone. Raises UnusableKeyError.
    """

    def __init__(self, key: str, origin: str) -> None:
        self._key: SignerKey = parse_signer_key(key).named(origin)
        if self._key.kind is not KeyKind.LOG:
            raise UnusableKeyError("The key of a witness cannot be that of a log.")
        self.origin = origin

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return what signs with the key of the settings; None when they have none. Raises SettingsError, which does
        not repeat the key.
        """
        if settings.log_key is None:
            return None
        try:
            return cls(settings.log_key, settings.log_origin)
        except UnusableKeyError as error:
            raise SettingsError(f"{PREFIX}LOG_KEY: {error} Make one with: funds log-key") from None

    def origin_of(self, ledger: str) -> str:
        """Return the origin of the log of the ledger of this name; "" is the installation's own history."""
        return f"{self.origin}/{ledger}" if ledger else self.origin

    def verifier_key(self, ledger: str) -> VerifierKey:
        """Return the key that verifies the checkpoints of the ledger."""
        return self._key.named(self.origin_of(ledger)).verifier_key

    def sign_for(self, ledger: str) -> Sign:
        """Return what signs the checkpoints of the ledger."""
        origin = self.origin_of(ledger)
        key = self._key.named(origin)
        return lambda size, root: str(sign_checkpoint(Checkpoint(origin, size, root), key))
