"""Parsing of database URLs: strict, so that no part of a password is taken for a host.

The forms are those of libpq that asyncpg knows: several hosts, a socket's directory (percent-encoded as the host, or in
``host=``), parameters in the query, and the environment's ``PGHOST`` and ``PGSSLMODE`` where the URL does not say.
"""

import os
import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Self
from urllib.parse import unquote

from service.errors import DatabaseUnusableError

HOW_TO_WRITE = (
    "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and / @ : % ? # and the like in a password as %2F %40 %3A %25"
    " %3F %23"
)

_UNKNOWN_LOCATION = "the given URL"
_TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})
_SCHEMES = frozenset({"postgresql", "postgres"})

# Only printable ASCII: urllib drops or folds other characters, and the driver would then see another URL than this
# module. At most one @, which ends the password: no part of a password with / @ ? or # is read as host, port or path.
_FORM = re.compile(
    r"(?P<scheme>[a-z]+)(?:\+[a-z]+)?://"
    r"(?:[^@/?#\[\]]*@)?(?P<hosts>[^@/?#]*)(?:/[^@?#]*)?(?:\?(?P<query>[^@#]*))?"
)
_FORBIDDEN = re.compile(r"[^!-~]|%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>/[^,:]*|[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_PORTS = re.compile(r"[0-9]{1,5}(?:,[0-9]{1,5})*")


@dataclass(frozen=True)
class Address:
    """The parts of a database URL that the service uses.

    ``location`` is the hosts and ports as a person would write them. ``hosts`` are names, addresses or directories of
    sockets; it is empty for the driver's own defaults, which are on this machine. ``tls_added`` is the TLS mode that
    the service adds where the URL has none: "require" for a host that is not this machine, None for any other.
    ``tls_required`` says whether connections in plain text are refused.
    """

    url: str = field(repr=False)
    location: str
    hosts: tuple[str, ...]
    tls_added: str | None
    tls_required: bool

    @classmethod
    def of(cls, url: str) -> Self:
        """Parse ``url``. Raises DatabaseUnusableError, whose text repeats no part of the URL."""
        plain = plain_url(url)
        parts = _FORM.fullmatch(plain)
        if parts is None or _FORBIDDEN.search(plain) is not None:
            raise DatabaseUnusableError(f"The database URL cannot be read: {HOW_TO_WRITE}.")
        if parts["scheme"] not in _SCHEMES:
            raise DatabaseUnusableError(f"The database URL's scheme is expected to be postgresql: {HOW_TO_WRITE}.")
        parameters = _parameters(parts["query"] or "")
        stated_hosts = unquote(parts["hosts"]) or parameters.get("host") or os.environ.get("PGHOST") or ""
        hosts, ports = _hosts(stated_hosts)
        port = "" if parts["hosts"] else parameters.get("port", "")  # the driver reads it only for hosts of the query
        if port and _PORTS.fullmatch(port) is None:
            raise DatabaseUnusableError(f"The database URL's port is no number: {HOW_TO_WRITE}.")
        mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE")
        # Only the driver reads a service file, so its hosts are not known here. TLS is required of them, unless the URL
        # itself says otherwise.
        elsewhere = not all(map(_is_here, hosts)) or "service" in parameters
        added = "require" if mode is None and elsewhere else None
        return cls(
            url=plain,
            location=", ".join(map(_written, hosts, (own or port for own in ports))) or "localhost",
            hosts=hosts,
            tls_added=added,
            tls_required=(added or mode) in _TLS_MODES,
        )


def plain_url(url: str) -> str:
    """Return ``url`` without SQLAlchemy's driver suffix: asyncpg wants ``postgresql://``."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


def location(url: str) -> str:
    """Return hosts and ports of ``url`` as a person would write them, without user or password.

    Return "the given URL" for a URL that cannot be parsed.
    """
    try:
        return Address.of(url).location
    except DatabaseUnusableError:
        return _UNKNOWN_LOCATION


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters of ``query`` that have a value, as the driver reads them."""
    found: dict[str, str] = {}
    for item in query.split("&") if query else ():
        name, equals, value = (unquote(part.replace("+", " ")) for part in item.partition("="))
        if not equals or not name or name in found:
            raise DatabaseUnusableError(
                "The database URL's query cannot be read: write ?NAME=VALUE&NAME=VALUE, each name once."
            )
        if value:
            found[name] = value
    return found


def _hosts(stated: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the hosts of a list with commas, and the port of each ("" for none)."""
    found = [_HOST.fullmatch(host) for host in stated.split(",")] if stated else []
    if None in found:
        raise DatabaseUnusableError(f"The database URL's host cannot be read: {HOW_TO_WRITE}.")
    hosts = [host for host in found if host is not None]
    return tuple(host["v6"] or host["name"] for host in hosts), tuple(host["port"] or "" for host in hosts)


def _is_here(host: str) -> bool:
    """Return whether ``host`` is on this machine: a socket's directory, or a loopback address."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _written(host: str, port: str) -> str:
    if host.startswith("/"):
        return host
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name
