"""Certificates that proxies pass on: from whom they are believed, and what is none."""

import base64
from ipaddress import ip_network

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from service.access.certificates import HEADER, ClientCertificates, hash_certificate
from service.access.tokens import hash_token
from service.errors import UnauthenticatedError
from tests.support.certificates import certificate, passed_on

DER = certificate("alice").public_bytes(Encoding.DER)
VALUE = passed_on(DER).encode()
PROXIES = ["10.0.0.7", "10.1.0.0/16", "fd00::/8"]
CERTIFICATES = ClientCertificates(map(ip_network, PROXIES))


@pytest.mark.parametrize("address", ["10.0.0.7", "10.1.2.3", "::ffff:10.0.0.7", "fd00::1", "fd00::1%eth0"])
def test_a_proxy_is_believed(address: str) -> None:
    assert CERTIFICATES.hash_of([(b"host", b"funds"), (HEADER, VALUE)], (address, 1)) == hash_certificate(DER)
    assert CERTIFICATES.hash_of([(b"host", b"funds"), (b"client-cert-chain", VALUE)], (address, 1)) is None


@pytest.mark.parametrize(
    "address",
    ["10.0.0.8", "10.2.0.1", "127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.8", "", "proxy", "10.0.0.7.1"],
)
def test_nobody_else_is(address: str) -> None:
    with pytest.raises(UnauthenticatedError, match="from who is no trusted proxy"):
        CERTIFICATES.hash_of([(HEADER, VALUE)], (address, 1))
    assert CERTIFICATES.hash_of([(b"host", b"funds")], (address, 1)) is None


def test_who_is_not_known_is_not_believed() -> None:
    with pytest.raises(UnauthenticatedError, match="from who is no trusted proxy"):
        CERTIFICATES.hash_of([(HEADER, VALUE)], None)


def test_of_two_certificates_none_counts() -> None:
    with pytest.raises(UnauthenticatedError, match="more than one"):
        CERTIFICATES.hash_of([(HEADER, VALUE), (HEADER, VALUE)], ("10.0.0.7", 1))


WRONG = [
    b"",
    b":",
    b"::",
    b":=:",
    VALUE[1:],
    VALUE[:-1],
    VALUE + b"\n",
    b" " + VALUE,
    VALUE + b";a=1",
    VALUE + b", " + VALUE,
    VALUE.replace(b":", b""),
    b":" + VALUE[2:],
    b":" + b"A" * 12_288 + b":",
    b":QUJD====:",
    b":QU\xffD:",
    b":QU-_:",
]


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
def test_what_is_no_certificate(value: bytes) -> None:
    with pytest.raises(UnauthenticatedError, match="is none"):
        CERTIFICATES.hash_of([(HEADER, value)], ("10.0.0.7", 1))


@pytest.mark.parametrize(
    "text", ["", "fts_", "\xff", DER.hex(), base64.b64encode(DER).decode(), DER.decode("latin-1")], ids=range(6)
)
def test_a_certificate_is_no_token(text: str) -> None:
    """It is public: what can be sent as a token never has its hash, whatever bytes it consists of."""
    assert hash_certificate(text.encode()) != hash_token(text)
    assert hash_certificate(DER) not in {hash_token(text), hash_token(f"\xff{text}")}
