"""A link that signs the operator in once, which ``funds serve`` prints beside the embedded database."""

import hashlib
import hmac
import os
import secrets
import time
from typing import Any, Self

LINK_SECONDS = 600.0
"""How long a link can be used, from when it was made."""
_CODE_BYTES = 24


class SignInLink:
    """What a code in a link stands for: ``token``, once, until ``until`` on the machine's clock.

    All worker processes share one byte in a pipe: whoever takes it out has used the link.
    """

    def __init__(self, code_digest: bytes, token: str, until: float, descriptor: int) -> None:
        self._code_digest = code_digest
        self._token = token
        self._until = until
        self._descriptor = descriptor

    @classmethod
    def make(cls, token: str) -> tuple[Self, str]:
        """Make a link that signs in by ``token``; return it and its code, which is kept nowhere."""
        code = secrets.token_urlsafe(_CODE_BYTES)
        reader, writer = os.pipe()
        os.write(writer, b"\0")
        os.close(writer)
        os.set_blocking(reader, False)
        return cls(_digest(code), token, time.time() + LINK_SECONDS, reader), code

    def is_usable(self, code: str) -> bool:
        """Whether ``code`` is this link's, and its time is not over."""
        return time.time() < self._until and hmac.compare_digest(_digest(code), self._code_digest)

    def use(self, code: str) -> str | None:
        """Return the token that ``code`` stands for, this once; None for another code, or when it was used."""
        if not self.is_usable(code):
            return None
        try:
            taken = os.read(self._descriptor, 1)
        except BlockingIOError:
            return None
        return self._token if taken else None

    def __reduce__(self) -> Any:
        """Hand the link to a process that is being started."""
        from multiprocessing.reduction import DupFd  # noqa: PLC0415 - most commands start no process

        return _attach, (self._code_digest, self._token, self._until, DupFd(self._descriptor))


def _attach(code_digest: bytes, token: str, until: float, descriptor: Any) -> SignInLink:
    return SignInLink(code_digest, token, until, descriptor.detach())


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
