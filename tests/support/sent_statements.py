"""Whatever a process sends to its databases, transaction by transaction: statements with their values, and rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from struct import unpack_from
from typing import Any

import pytest
from sqlalchemy import Engine, event

from service.storage import connecting
from service.storage.group_commit.binary_copy import BEGIN, END

Driver = connecting._Connection  # what is sent by any way goes through it
_ENDS = ("COMMIT", "ROLLBACK;")


@dataclass
class Sent:
    """The statements of one transaction with their values, and of which ledgers it copied rows into which tables."""

    statements: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    copied: list[tuple[str, int]] = field(default_factory=list)


class Recorder:
    """Sorts statements into the transactions of their connections. One outside of any counts as a transaction."""

    def __init__(self) -> None:
        self.ended: list[Sent] = []
        self._running: dict[int, Sent] = {}

    def note(self, driver: Any, statement: str, values: Sequence[Any]) -> None:
        running = self._running.get(id(driver))
        if statement.startswith("BEGIN"):
            self._running[id(driver)] = Sent()
        elif statement.startswith(_ENDS):
            self.ended.append(self._running.pop(id(driver), Sent()))
        elif running is None:
            self.ended.append(Sent([(statement, tuple(values))]))
        else:
            running.statements.append((statement, tuple(values)))

    def note_rows(self, driver: Any, table: str, ledgers: set[int]) -> None:
        self._running[id(driver)].copied += [(table, ledger_id) for ledger_id in ledgers]

    def note_of_sqlalchemy(self, connection: Any, _cursor: Any, statement: str, values: Any, *_: object) -> None:
        for one in values if isinstance(values, list) else [values]:
            self.note(connection.connection.driver_connection, statement, one)


@contextmanager
def everything_sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sent]]:
    """Yield the transactions that this process ends from now on."""
    recorder = Recorder()
    execute, fetch = Driver.execute, Driver.fetch
    copy, copy_records = Driver.copy_to_table, Driver.copy_records_to_table

    async def note_execute(self: Any, query: str, *values: Any, **options: Any) -> Any:
        recorder.note(self, query, values)
        return await execute(self, query, *values, **options)

    async def note_fetch(self: Any, query: str, *values: Any, **options: Any) -> Any:
        recorder.note(self, query, values)
        return await fetch(self, query, *values, **options)

    async def note_copy(self: Any, table: str, *, source: Any, **options: Any) -> Any:
        recorder.note_rows(self, table, set(_ledgers(bytes(source))))
        return await copy(self, table, source=source, **options)

    async def note_records(self: Any, table: str, *, records: Any, **options: Any) -> Any:
        rows = list(records)
        recorder.note_rows(self, table, {row[0] for row in rows})
        return await copy_records(self, table, records=rows, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "execute", note_execute)
        patch.setattr(Driver, "fetch", note_fetch)
        patch.setattr(Driver, "copy_to_table", note_copy)
        patch.setattr(Driver, "copy_records_to_table", note_records)
        event.listen(Engine, "before_cursor_execute", recorder.note_of_sqlalchemy)
        try:
            yield recorder.ended
        finally:
            event.remove(Engine, "before_cursor_execute", recorder.note_of_sqlalchemy)


def _ledgers(rows: bytes) -> Iterator[int]:
    """Yield the first column of each row of a binary COPY, which is the ledger's id."""
    place = len(BEGIN)
    while rows[place : place + 2] != END:
        [count] = unpack_from("!h", rows, place)
        place += 2
        for column in range(count):
            [length] = unpack_from("!i", rows, place)
            place += 4
            if column == 0:
                yield unpack_from("!i", rows, place)[0]
            place += max(length, 0)
