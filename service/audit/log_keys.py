"""The public keys by which an installation verifies its own logs: who signs checkpoints, and who cosigns them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from service.audit.log_signer import LogSigner
from service.audit.witnesses import name_of, witnesses_of
from service.errors import SettingsError
from service.proofs.checkpoints import parse_checkpoint
from service.proofs.errors import ProofsError, UnusableKeyError
from service.proofs.keys import KeyKind, VerifierKey, parse_verifier_key
from service.proofs.notes import Signature, parse_note, parse_signatures, signatures_by
from service.settings import PREFIX, Settings

if TYPE_CHECKING:  # they load SQLAlchemy, and whoever asks which keys there are does without
    from service.storage.repositories.cosignatures import Cosignature
    from service.storage.repositories.log import Checkpoint


class LogKeys(Struct, frozen=True):
    """Whom to trust: ``logs`` are keys of the installation's own log, each under the origin that it had when the key
    was used; those of ledgers' logs are made of them. Without any, no signature of a log is verified.
    """

    logs: Sequence[VerifierKey] = ()
    witnesses: Sequence[VerifierKey] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the keys of the settings: the one that signs now, those of the witnesses that are asked, and those
        that are named besides: older ones, or the next. Raises SettingsError.
        """
        signer = LogSigner.of(settings)
        try:
            others = [parse_verifier_key(text) for text in settings.log_verifier_key_texts]
        except UnusableKeyError as error:
            raise SettingsError(f"{PREFIX}LOG_VERIFIER_KEYS: {error}") from None
        keys = [*([] if signer is None else [signer.verifier_key("")]), *others]
        return cls(
            [key for key in keys if key.kind is KeyKind.LOG],
            [
                *(witness.key for witness in witnesses_of(settings)),
                *(key for key in others if key.kind is KeyKind.WITNESS),
            ],
        )

    @property
    def witness_names(self) -> Sequence[str]:
        """The names under which cosignatures by the witnesses are kept."""
        return [name_of(key) for key in self.witnesses]

    def fault_of(self, checkpoint: "Checkpoint", ledger: str) -> str | None:
        """Return what is wrong with the note of a checkpoint of the ledger of that name: it says something else than
        the checkpoint, or no key of the log signed it. None where nothing is.
        """
        keys = [replace(key, name=f"{key.name}/{ledger}" if ledger else key.name) for key in self.logs]
        try:
            note = parse_note(checkpoint.note)
            said = parse_checkpoint(note.text)
            signers = signatures_by(note, keys)
        except ProofsError as error:
            return str(error)
        if (said.size, said.root) != (checkpoint.size, checkpoint.root):
            return "its note is of another checkpoint"
        if not keys or any(key.name == said.origin for key in signers):
            return None
        if all(key.name != said.origin for key in keys):
            return "its note is of another log"
        return f"no key signed it that the settings name ({PREFIX}LOG_KEY, {PREFIX}LOG_VERIFIER_KEYS)"

    def cosigned(self, checkpoint: "Checkpoint", line: "Cosignature") -> bool | None:
        """Return whether ``line`` is the cosignature of ``checkpoint`` by the witness that it is kept under; None for a
        witness that is not known here.
        """
        key = next((key for key in self.witnesses if name_of(key) == line.witness), None)
        if key is None:
            return None
        try:
            [signature] = parse_signatures(line.signature)
            text = parse_note(checkpoint.note).text
        except (ProofsError, ValueError):
            return False
        return _is_by(signature, key, text)


def _is_by(signature: Signature, key: VerifierKey, text: str) -> bool:
    return signature.names(key) and key.verifies(text, signature.value)
