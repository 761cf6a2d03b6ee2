"""The witnesses of an installation's logs, as the settings name them."""

from collections.abc import Sequence

from msgspec import Struct

from service.errors import SettingsError
from service.proofs.errors import UnusableKeyError
from service.proofs.keys import KeyKind, VerifierKey, parse_verifier_key
from service.proofs.verify import count_witnesses
from service.settings import PREFIX, Settings


class Witness(Struct, frozen=True):
    """Somebody else, who cosigns checkpoints with ``key`` and is asked below ``url``."""

    key: VerifierKey
    url: str

    @property
    def name(self) -> str:
        """The name under which its cosignatures are kept."""
        return name_of(self.key)


def name_of(key: VerifierKey) -> str:
    """Return the name of whoever cosigns with ``key``, and the key's ID: under a new key it is another witness."""
    return f"{key.name}+{key.id.hex()}"


def witnesses_of(settings: Settings) -> Sequence[Witness]:
    """Return the witnesses that the settings name. Raises SettingsError."""
    try:
        witnesses = [_witness(text) for text in settings.log_witness_texts]
    except UnusableKeyError as error:
        raise SettingsError(f"{PREFIX}LOG_WITNESSES: {error}") from None
    if count_witnesses(witness.key for witness in witnesses) < len(witnesses):
        raise SettingsError(f"{PREFIX}LOG_WITNESSES: two of them have the same key: name each witness once")
    return witnesses


def _witness(text: str) -> Witness:
    """Return the witness of its text. Raises UnusableKeyError."""
    key_text, url = text.split()
    key = parse_verifier_key(key_text)
    if key.kind is not KeyKind.WITNESS:
        raise UnusableKeyError("The key of a log cannot be that of a witness.")
    return Witness(key, url.rstrip("/"))
