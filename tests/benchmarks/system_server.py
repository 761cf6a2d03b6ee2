"""The PostgreSQL of the system's packages as a benchmark's: Debian's is 15, the oldest that is supported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

from msgspec import Struct

from service.embedded.postgres import AUDITOR, DATABASE, OPERATOR, OWNER, SERVICE, SUPERUSER
from tests.support.debian import PASSWORD, DebianPostgres, debian_postgres

LOGINS = (OWNER, SERVICE, OPERATOR, AUDITOR)


class SystemPostgres(Struct, frozen=True):
    """A running server, spoken to by its socket, as the embedded one is."""

    server: DebianPostgres

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        return int((self.server.data / "postmaster.pid").read_text().split(maxsplit=1)[0])

    @property
    def owner_url(self) -> str:
        """URL of database ``funds`` for the role that migrates."""
        return self.url(OWNER)

    @property
    def superuser_url(self) -> str:
        """URL of database ``funds`` for the superuser."""
        return self.url(SUPERUSER)

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return the URL that connects ``role`` to ``database``."""
        place = quote(str(self.server.place), safe="/")
        return f"postgresql://{role}:{PASSWORD}@/{database}?host={place}&port={self.server.port}"


@contextmanager
def system_postgres(settings: Mapping[str, str]) -> Iterator[SystemPostgres]:
    """Start one with ``settings`` and an empty database; it is gone at the end."""
    with debian_postgres(tls=False, settings=settings) as server:
        yield SystemPostgres(server)
