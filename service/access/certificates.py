"""Knowing callers by the certificate that a proxy has asked them for (mutual TLS), passed on as RFC 9440 says."""

import base64
import hashlib
import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from service.errors import UnauthenticatedError

HEADER = b"client-cert"
"""Client-Cert: the certificate in DER and base64, between colons (a byte sequence of RFC 8941)."""

_LENGTH_MAX = 12 * 1024
_VALUE = re.compile(rb":([A-Za-z0-9+/]+={0,2}):")

Network = IPv4Network | IPv6Network
Peer = tuple[str, int] | None
"""Address and port of who sent a request; None where it is not known."""


def hash_certificate(certificate: bytes) -> bytes:
    """Return what a certificate (in DER) is known by, as a token is by its hash.

    A certificate is no secret. What is hashed is no text, for none has this byte in UTF-8: so nothing that can be sent
    as a token has the same hash.
    """
    return hashlib.sha256(b"\xff" + certificate).digest()


class ClientCertificates:
    """Believes ``proxies`` alone what they say of a caller's certificate."""

    def __init__(self, proxies: Iterable[Network]) -> None:
        self._proxies = tuple(proxies)

    def hash_of(self, headers: Iterable[tuple[bytes, bytes]], peer: Peer) -> bytes | None:
        """Return what the certificate is known by that came with a request; None when none came.

        Raises UnauthenticatedError when it came from anybody else, or is not what RFC 9440 says.
        """
        values = [value for name, value in headers if name == HEADER]
        if not values:
            return None
        if not peer or not self._trusts(peer[0]):
            raise UnauthenticatedError("a client certificate came from who is no trusted proxy")
        if len(values) > 1:
            raise UnauthenticatedError("more than one client certificate came")
        found = _VALUE.fullmatch(values[0]) if len(values[0]) <= _LENGTH_MAX else None
        if found is None or len(found[1]) % 4:
            raise UnauthenticatedError("what came as a client certificate is none")
        return hash_certificate(base64.b64decode(found[1]))

    def _trusts(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)
