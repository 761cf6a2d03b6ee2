"""A service for tests, which runs in a process of its own for as long as it is needed."""

import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from funds_testing.errors import ServiceNotStartedError
from funds_testing.ledger import TestLedger
from funds_testing.wire import LedgerMade, LedgerRequest, Ready

_COMMAND = (sys.executable, "-c", "from service.cli import main; main()", "test-server", "--stop-with-stdin")
_DATABASE_VARIABLE = "FUNDS_TESTING_DATABASE_URL"
_STOP_SECONDS_MAX = 60.0
_ANSWER_SECONDS_MAX = 120.0
_SAID_BYTES_MAX = 10_000

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here speaks TLS. httpx would read every authority for each client otherwise, which takes some 20 ms."""

T = TypeVar("T")


class FundsService:
    """A service on a database of its own, from entering the block to leaving it.

    ``url`` is where callers find it, with the faults that tests ask for; ``admin_token`` may do everything. The
    database is made on the PostgreSQL server of ``database_url`` (a superuser's), or of FUNDS_TESTING_DATABASE_URL;
    without either, an embedded one is started.

    The process is told to end by its standard input, which the system closes when this process ends in whatever way.
    """

    def __init__(self, *, database_url: str | None = None) -> None:
        self._database_url = database_url
        self.url = ""
        self.admin_token = ""
        self.control_url = ""

    def __enter__(self) -> Self:
        """Start it, and wait until it serves. Raises ServiceNotStartedError."""
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            _COMMAND,
            env=_environment(self._database_url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        assert self._process.stdout is not None, "asked for"
        line = self._process.stdout.readline()
        if not line:
            self._stop()
            raise ServiceNotStartedError(self._said)
        ready = msgspec.json.decode(line, type=Ready)
        self.url, self.admin_token, self.control_url = ready.url, ready.admin_token, ready.control_url
        self._control = httpx.Client(
            headers={"Authorization": f"Bearer {ready.admin_token}"}, timeout=_ANSWER_SECONDS_MAX, verify=NO_TLS
        )
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Stop it, and wait until nothing is left of it."""
        self._control.close()
        self._stop()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def ledger(self, name: str = "test") -> TestLedger:
        """Return a fresh ledger, with a name that begins with ``name`` and a token of its own."""
        made = self.control(LedgerMade, "POST", "/ledgers", LedgerRequest(name=name))
        return TestLedger(self, made)

    def control(self, kind: type[T], method: str, path: str, body: Any = None) -> T:
        """Return what the control API answers, as ``kind``. Raises ValueError for what it does not understand."""
        content = None if body is None else msgspec.json.encode(body)
        answer = self._control.request(method, self.control_url + path, content=content)
        if answer.is_client_error:
            raise ValueError(answer.json()["detail"])
        answer.raise_for_status()
        return msgspec.json.decode(answer.content or b"null", type=kind)

    def past_faults(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask the service as the admin, past the faults. Raises httpx.HTTPStatusError for a problem."""
        url = self.control_url.removesuffix("/testing") + path
        return self._control.request(method, url, **options).raise_for_status()

    def _stop(self) -> None:
        assert self._process.stdin is not None, "asked for"
        assert self._process.stdout is not None, "asked for"
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its guard removes what it leaves
            self._process.wait()
        self._process.stdout.close()
        self._log.seek(0)
        self._said = self._log.read(_SAID_BYTES_MAX).decode(errors="replace").strip()
        self._log.close()


def _environment(database_url: str | None) -> Mapping[str, str]:
    """Return this process's environment, in which the other one finds this package wherever this one did; with none of
    the service's settings.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FUNDS_")}
    path = [str(Path(__file__).parents[1]), *filter(None, [kept.get("PYTHONPATH")])]
    given = database_url or os.environ.get(_DATABASE_VARIABLE)
    return kept | {"PYTHONPATH": os.pathsep.join(path)} | ({_DATABASE_VARIABLE: given} if given else {})
