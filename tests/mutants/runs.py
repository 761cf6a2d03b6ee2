"""Running tests on mutants: collected once, then in a forked process for each mutant."""

import contextlib
import functools
import gc
import os
import pickle
import resource
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple, Self

import pytest
from _pytest.config import _prepareconfig
from _pytest.runner import runtestprotocol

from service.embedded.postgres import EmbeddedPostgres
from tests.mutants.operators import Mutant, mutated_code
from tests.support.servers import ROOT

CPU_SECONDS_MAX = 60
"""A mutant that takes longer loops: it is killed."""
SECONDS_MAX = 900
"""A mutant that waits for longer may wait for ever; on a busy machine its tests may be slow, so it is told apart."""
POSTGRES_OPTIONS = {"fsync": "off", "max_connections": "300"}
# What starts PostgreSQL has loaded modules whose assertions pytest would rewrite; they have none.
IMPORTED_BEFORE = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
OPTIONS = ("-n0", "-q", "-p", "no:cacheprovider", "--timeout=0", *IMPORTED_BEFORE)
KILLED, SURVIVED, UNTESTED, SLOW = "killed", "survived", "untested", "slow"

Function = tuple[str, str, int]
"""A function's file, qualified name and first line."""


class Room(NamedTuple):
    """Which modules are changed, and which tests run; ``with_database`` those that ask one."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    with_database: bool

    def sources(self) -> list[Path]:
        """Return the files of the modules, without those that say nothing."""
        found = (
            path
            for module in map(Path, self.modules)
            for path in ([module] if module.suffix else sorted(module.glob("*.py")))
        )
        return [path for path in found if path.name != "__init__.py"]


class Runs:
    """The tests of ``room``, collected; ``run`` tells what they say of a mutant."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._stack = contextlib.ExitStack()
        self._session: Any = None
        self._callers: Mapping[Function, list[int]] = {}
        self._functions: dict[Function, list[FunctionType]] = defaultdict(list)
        self._caches: list[functools._lru_cache_wrapper[Any]] = []

    def __enter__(self) -> Self:
        if self._room.with_database:
            # Started here, used by every process: each makes its own template and databases.
            directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="funds-mutants-"))
            server = self._stack.enter_context(EmbeddedPostgres(Path(directory), options=POSTGRES_OPTIONS))
            os.environ["FUNDS_TEST_DATABASE_URL"] = server.superuser_url
        self._session = _collected(self._room.tests)
        self._callers = self._map()
        for found in gc.get_objects():
            if isinstance(found, FunctionType):
                self._functions[_place_of(found.__code__)].append(found)
            elif isinstance(found, functools._lru_cache_wrapper):
                self._caches.append(found)
        gc.freeze()  # what is collected is not copied for each mutant
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, mutant: Mutant) -> str:
        """Return whether a test fails on ``mutant``, none does, none calls its function, or they take too long."""
        filename = str(ROOT / mutant.module)
        numbers = self._callers.get((filename, mutant.qualname, mutant.begins), [])
        if not numbers:
            return UNTESTED
        code = mutated_code(mutant, Path(filename).read_text(), filename)
        with tempfile.TemporaryFile() as told:
            status = _forked(lambda: self._judge(code, numbers, told.fileno()))
            told.seek(0)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
                return SLOW
            return SURVIVED if told.read() == SURVIVED.encode() else KILLED

    def _judge(self, code: CodeType, numbers: list[int], told: int) -> None:
        for function in self._functions[_place_of(code)]:
            function.__code__ = code
        for cache in self._caches:
            cache.cache_clear()
        if all(self._passes(*pair) for pair in pairwise([*numbers, None])):
            os.write(told, SURVIVED.encode())

    def _passes(self, number: int | None, following: int | None) -> bool:
        """Return whether a test passes. What it shares with the ``following`` one is kept."""
        assert number is not None, "only the last has none behind it"
        nextitem = None if following is None else self._session.items[following]
        reports = runtestprotocol(self._session.items[number], nextitem=nextitem, log=False)
        return not any(report.failed for report in reports)

    def _map(self) -> Mapping[Function, list[int]]:
        """Return which tests call which functions, those that are quick first. All of them must pass."""
        files = {str(ROOT / path) for path in self._room.sources()}
        with tempfile.TemporaryFile() as told:
            status = _forked(lambda: self._trace(files, told.fileno()), seconds_max=0)
            told.seek(0)
            content = told.read()
        if status or not content:
            sys.exit("the tests do not pass without a change")
        calls: dict[int, tuple[float, set[Function]]] = pickle.loads(content)
        callers: dict[Function, list[int]] = defaultdict(list)
        for number, (_, functions) in sorted(calls.items(), key=lambda call: call[1][0]):
            for function in functions:
                callers[function].append(number)
        return callers

    def _trace(self, files: set[str], told: int) -> None:
        calls = {}
        for number, following in pairwise([*range(len(self._session.items)), None]):
            seen: set[Function] = set()
            began = time.monotonic()
            with _traced(files, seen):
                passed = self._passes(number, following)
            if not passed:
                sys.stderr.write(f"{self._session.items[number].nodeid} fails\n")
                os._exit(1)
            calls[number] = time.monotonic() - began, seen
        with os.fdopen(os.dup(told), "wb") as file:
            pickle.dump(calls, file)


@contextlib.contextmanager
def _traced(files: set[str], seen: set[Function]) -> Iterator[None]:
    def note(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename in files:
            seen.add(_place_of(code))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def _place_of(code: CodeType) -> Function:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _collected(tests: tuple[str, ...]) -> pytest.Session:
    """Return a session with the items of ``tests``, none of which has run."""
    config = _prepareconfig([*OPTIONS, *tests])
    config._do_configure()
    session = pytest.Session.from_config(config)
    config.hook.pytest_sessionstart(session=session)
    session.perform_collect()
    return session


def _forked(work: Any, *, seconds_max: int = SECONDS_MAX) -> int:
    """Run ``work`` in a process forked from this one, and return how it ended."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        try:
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            if seconds_max:
                resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
                signal.alarm(seconds_max)
            work()
        except BaseException as error:  # noqa: BLE001 - nothing of this process may go on as its parent
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]
