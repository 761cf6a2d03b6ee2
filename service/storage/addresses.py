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
_TARGETS = ("any", "primary", "read-write", "standby", "prefer-standby", "read-only")
_PORT = "5432"
_HIDDEN = "***"
_SHOWN = frozenset(
    {"host", "port", "user", "dbname", "database", "service", "sslmode", "sslrootcert", "target_session_attrs"}
)

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
class Candidate:
    """One server of a database URL.

    ``location`` is its host and port as a person would write them. ``host`` is a name, an address or the directory of
    a socket; None leaves both it and ``port`` to the driver. ``tls_added`` is the TLS mode that the service adds where
    the URL has none: "require" for a host that is not this machine, None for any other. ``tls_required`` says whether
    a connection in plain text is refused.
    """

    location: str
    host: str | None
    port: int | None
    tls_added: str | None
    tls_required: bool


@dataclass(frozen=True)
class Address:
    """The parts of a database URL that the service uses.

    ``location`` is the hosts and ports as a person would write them. ``candidates`` are the servers that it names, in
    its order: at least one. ``target`` is which of them is meant (``target_session_attrs``), None for any.
    """

    url: str = field(repr=False)
    location: str
    candidates: tuple[Candidate, ...]
    target: str | None

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
        stated_ports = "" if parts["hosts"] else parameters.get("port", "")  # belongs to the hosts of the query
        mode = parameters.get("sslmode") or os.environ.get("PGSSLMODE")
        candidates = _candidates(stated_hosts, stated_ports, mode) or [_default(mode)]
        where = ", ".join(candidate.location for candidate in candidates)
        if "service" in parameters:
            # Only the driver reads a service file, so its hosts are not known here. TLS is required of them, unless the
            # URL itself says otherwise.
            candidates = [_candidate(where, None, None, mode, is_here=False)]
        return cls(
            url=plain,
            location=where,
            candidates=tuple(candidates),
            target=_target(parameters, several=len(candidates) > 1),
        )


def plain_url(url: str) -> str:
    """Return ``url`` without SQLAlchemy's driver suffix: asyncpg wants ``postgresql://``."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}{separator}{rest}"


def without_secrets(url: str) -> str:
    """Return ``url`` with ``***`` for its password, and for every parameter that is not known to be shown.

    Raises DatabaseUnusableError.
    """
    start, question, query = Address.of(url).url.partition("?")
    scheme, separator, rest = start.partition("://")
    user, at, server = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    parameters = (item.partition("=") for item in query.split("&"))
    shown = "&".join(f"{key}={value if key in _SHOWN else _HIDDEN}" for key, _, value in parameters if key)
    return f"{scheme}{separator}{name}{colon and f':{_HIDDEN}'}{at}{server}{question}{shown}"


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


def _candidates(stated_hosts: str, stated_ports: str, mode: str | None) -> list[Candidate]:
    """Return the servers of two lists with commas: a port for each host, or one for all."""
    found = [_HOST.fullmatch(host) for host in stated_hosts.split(",")] if stated_hosts else []
    if None in found:
        raise DatabaseUnusableError(f"The database URL's host cannot be read: {HOW_TO_WRITE}.")
    told, assumed = (_ports(ports, len(found)) for ports in (stated_ports, os.environ.get("PGPORT", "")))
    candidates = []
    for host, of_list, of_environment in zip(filter(None, found), told, assumed, strict=False):
        name, port = host["v6"] or host["name"], host["port"] or of_list
        written = _written(name, port)
        number = int(port or of_environment or _PORT)
        candidates.append(_candidate(written, name, number, mode, is_here=_is_here(name)))
    return candidates


def _ports(stated: str, hosts: int) -> list[str]:
    """Return a port for each of so many ``hosts``: "" where none is stated."""
    if stated and _PORTS.fullmatch(stated) is None:
        raise DatabaseUnusableError(f"The database URL's port is no number: {HOW_TO_WRITE}.")
    ports = stated.split(",")
    if len(ports) not in {1, hosts}:
        raise DatabaseUnusableError("The database URL has other numbers of hosts and ports: one port each, or for all.")
    return ports * hosts if len(ports) == 1 else ports


def _default(mode: str | None) -> Candidate:
    """Return the driver's own default, which is on this machine."""
    return _candidate("localhost", None, None, mode, is_here=True)


def _candidate(location: str, host: str | None, port: int | None, mode: str | None, *, is_here: bool) -> Candidate:
    added = "require" if mode is None and not is_here else None
    return Candidate(location, host, port, added, (added or mode) in _TLS_MODES)


def _target(parameters: dict[str, str], *, several: bool) -> str | None:
    """Return which servers a URL means, None for any; a URL of ``several`` must say it."""
    target = parameters.get("target_session_attrs") or os.environ.get("PGTARGETSESSIONATTRS")
    if target is None and several:
        raise DatabaseUnusableError(
            "The database URL names several servers and not which of them is meant: add"
            " ?target_session_attrs=read-write, which is the primary, or =any."
        )
    if target is not None and target not in _TARGETS:
        raise DatabaseUnusableError(
            f"The database URL's target_session_attrs is expected to be one of {', '.join(_TARGETS)}."
        )
    return target


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
