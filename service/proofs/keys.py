"""The keys that sign notes, and their texts (https://c2sp.org/signed-note): Ed25519, of logs and of witnesses.

example.com/log+530d903a+AekyeR…                a verifier key: name, key ID, kind and public key
PRIVATE+KEY+example.com/log+530d903a+AYEK…      a signer key: the same with the private key, as the Go tools write it
"""

import re
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import MalformedTextError, UnusableKeyError
from .lines import read_base64, write_base64

KEY_ID_BYTES = 4
TIME_MAX = 2**63 - 1
"""The last time of a cosignature, in seconds since 1970."""

_KEY_BYTES = 32
_TIME_BYTES = 8
_PRIVATE = "PRIVATE+KEY+"
_CONTROL = re.compile(r"[\x00-\x1f\ud800-\udfff]")  # and half of a surrogate pair, which no text in UTF-8 has


class KeyKind(IntEnum):
    """What a key signs: a note's text as it is, or the text with the time at which a witness saw it."""

    LOG = 0x01
    WITNESS = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key, and the name of whoever holds it. Raises UnusableKeyError."""

    name: str
    kind: KeyKind
    public_bytes: bytes

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise UnusableKeyError("The key has no name, or one with a space, a plus or a control character.")
        if len(self.public_bytes) != _KEY_BYTES:
            raise UnusableKeyError(f"The key has not {_KEY_BYTES} bytes.")

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{write_base64(bytes([self.kind]) + self.public_bytes)}"

    @property
    def id(self) -> bytes:
        """The four bytes that, beside the name, say in a signature which key made it."""
        return sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public_bytes).digest()[:KEY_ID_BYTES]

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether ``signature`` is one of the note with ``text`` by this key."""
        message = text.encode()
        if self.kind is KeyKind.WITNESS:
            time, signature = cosigned_at(signature), signature[_TIME_BYTES:]
            if time > TIME_MAX:
                return False
            message = _cosigned_message(text, time)
        try:
            Ed25519PublicKey.from_public_bytes(self.public_bytes).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SignerKey:
    """The private half of a key. Raises UnusableKeyError."""

    name: str
    kind: KeyKind
    private_bytes: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.private_bytes) != _KEY_BYTES:
            raise UnusableKeyError(f"The key has not {_KEY_BYTES} bytes.")
        _ = self.verifier_key  # checks the name

    @classmethod
    def generate(cls, name: str, kind: KeyKind = KeyKind.LOG) -> Self:
        """Return a new key."""
        return cls(name, kind, Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.kind, self._private().public_key().public_bytes_raw())

    def named(self, name: str) -> Self:
        """Return the same key under another name: a log's key has the name of the log's origin."""
        return replace(self, name=name)

    def secret_text(self) -> str:
        """Return the text of the key. Whoever has it can sign."""
        private = write_base64(bytes([self.kind]) + self.private_bytes)
        return f"{_PRIVATE}{self.name}+{self.verifier_key.id.hex()}+{private}"

    def sign(self, text: str) -> bytes:
        """Return the signature of a note's text. Raises UnusableKeyError for the key of a witness."""
        if self.kind is not KeyKind.LOG:
            raise UnusableKeyError("The key of a witness signs with a time only.")
        return self._private().sign(text.encode())

    def cosign(self, text: str, time: int) -> bytes:
        """Return the cosignature of a checkpoint's text at ``time``, in seconds since 1970
        (https://c2sp.org/tlog-cosignature). Raises UnusableKeyError for the key of a log, ValueError for a time before
        1970 or after ``TIME_MAX``.
        """
        if not 0 <= time <= TIME_MAX:
            raise ValueError(f"a cosignature cannot be of the time {time}")
        if self.kind is not KeyKind.WITNESS:
            raise UnusableKeyError("The key of a log signs without a time.")
        return time.to_bytes(_TIME_BYTES) + self._private().sign(_cosigned_message(text, time))

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.private_bytes)


def cosigned_at(signature: bytes) -> int:
    """Return the time of a cosignature, in seconds since 1970."""
    return int.from_bytes(signature[:_TIME_BYTES])


def _cosigned_message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def is_name(text: str) -> bool:
    """Whether a text can be the name of a key: something, without white space, plus and control characters."""
    return bool(text) and "+" not in text and not _CONTROL.search(text) and not any(map(str.isspace, text))


def parse_verifier_key(text: str) -> VerifierKey:
    """Return the key of the text of a verifier key. Raises UnusableKeyError."""
    name, key_id, data = _parts(text, "verifier key")
    key = VerifierKey(name, _kind(data), data[1:])
    _check_id(key, key_id)
    return key


def parse_signer_key(text: str) -> SignerKey:
    """Return the key of the text of a signer key. Raises UnusableKeyError, whose message repeats nothing of it."""
    if not text.startswith(_PRIVATE):
        raise UnusableKeyError("A signer key begins with PRIVATE+KEY+.")
    name, key_id, data = _parts(text.removeprefix(_PRIVATE), "signer key")
    key = SignerKey(name, _kind(data), data[1:])
    _check_id(key.verifier_key, key_id)
    return key


def _parts(text: str, what: str) -> tuple[str, str, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, base64 = rest.partition("+")
    try:
        return name, key_id, read_base64(base64, what)
    except MalformedTextError:
        raise UnusableKeyError(f"A {what} is a name, a key ID and base64, with a plus between them.") from None


def _kind(data: bytes) -> KeyKind:
    try:
        return KeyKind(data[0])
    except ValueError:
        raise UnusableKeyError(
            "The key is of a kind that is not known here: Ed25519 is, of logs (0x01) and of witnesses (0x04)."
        ) from None


def _check_id(key: VerifierKey, key_id: str) -> None:
    if key_id != key.id.hex():
        raise UnusableKeyError("The key ID is not that of the name and the key: one of the three was changed.")
