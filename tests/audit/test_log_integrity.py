"""Verification compares a log with its entries: whatever the database's owner did to either is found and named."""

from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from service.audit import log_integrity
from service.audit.integrity import verify_ledger
from service.audit.ledger_log import LedgerLog, Sealing
from service.audit.log_integrity import CHECKPOINTS_STAND, COSIGNATURES_STAND, verify_tiles
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.audit.witnesses import name_of
from service.domain.history import LoggedLedger
from service.domain.integrity import Finding, Scope
from service.proofs import notes
from service.proofs.keys import KeyKind, SignerKey
from service.proofs.tree import leaf_hash, root_of
from service.settings import RetryLimits, Settings
from service.storage.database import Database, Session
from service.storage.repositories import Repositories
from service.storage.transactions import Transactions
from tests.audit.test_integrity import DROP_CONSTRAINTS, TakenBackError, execute
from tests.support.ledger_at_work import fill_ledger
from tests.support.log import ORIGIN
from tests.support.rows import MAIN
from tests.support.servers import TestDatabase, TestPostgres

SIGNER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
OTHER = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
KEYS = LogKeys([SIGNER.verifier_key("")])
LEDGER = LoggedLedger(MAIN, "main")
FORGED = "0199ffff-ffff-7fff-8000-000000000001"

# What is sealed lies before the head, also what stands behind all facts.
_ADD = """
    WITH head AS (UPDATE funds.ledger_heads SET last_at = '9999-12-31' WHERE ledger_id = 1 AND $1::text LIKE 'e%')
    INSERT INTO funds.history (ledger_id, id, type, client_id, data, created_at)
    SELECT 1, ($1 || lpad(to_hex(number), 12, '0'))::uuid, 'key.fenced', 'client', '{}', now()
    FROM generate_series($2::bigint, $3::bigint) AS number
"""
BEFORE, AFTER = "00000000-0000-7000-8000-", "e0000000-0000-7000-8000-"


class Damage(NamedTuple):
    """A statement of the owner's, and the table and row of what is found. ``{name}`` is the id of that fact."""

    statement: str
    table: str
    row: str


ENTRIES = {
    "a transfer's amount": Damage(
        "UPDATE funds.transfers SET amount = amount + 1 WHERE id = '{transfer}'", "transfers", "{transfer}"
    ),
    "a transfer's description": Damage(
        "UPDATE funds.transfers SET description = 'rent' WHERE id = '{transfer}'", "transfers", "{transfer}"
    ),
    "a transfer's author": Damage(
        "UPDATE funds.transfers SET client_id = 'somebody' WHERE id = '{transfer}'", "transfers", "{transfer}"
    ),
    "a transfer's time": Damage(
        "UPDATE funds.transfers SET created_at = created_at + interval '1 microsecond' WHERE id = '{transfer}'",
        "transfers",
        "{transfer}",
    ),
    "a hold's end": Damage(
        "UPDATE funds.holds SET expires_at = expires_at + interval '1 day' WHERE id = '{open}'", "holds", "{open}"
    ),
    "how an account was opened": Damage(
        """UPDATE funds.history SET data = replace(data::text, '"USD"', '"EUR"')::json WHERE id = '{cash}'""",
        "history",
        "{cash}",
    ),
    "who opened an account": Damage(
        "UPDATE funds.history SET client_id = NULL WHERE id = '{cash}'", "history", "{cash}"
    ),
    "the white space of an entry's data": Damage(
        "UPDATE funds.history SET data = (data::text || ' ')::json WHERE id = '{cash}'", "history", "{cash}"
    ),
}
SETS = {
    "a transfer was deleted": Damage("DELETE FROM funds.transfers WHERE id = '{transfer}'", "log_tiles", "{transfer}"),
    "an entry was deleted": Damage("DELETE FROM funds.history WHERE id = '{cash}'", "log_tiles", "{cash}"),
    "a transfer was put in": Damage(
        "INSERT INTO funds.transfers SELECT (jsonb_populate_record(transfer, jsonb_build_object('id', '{new}'))).*"
        " FROM funds.transfers AS transfer WHERE id = '{transfer}'",
        "transfers",
        "{new}",
    ),
    "an entry was put in": Damage(
        "INSERT INTO funds.history (ledger_id, id, type, data, created_at)"
        " VALUES (1, '{new}', 'key.fenced', '{{}}', now())",
        "history",
        "{new}",
    ),
    "two transfers changed their identifiers": Damage(
        "UPDATE funds.transfers SET id = '{forged}' WHERE id = '{transfer}';"
        " UPDATE funds.transfers SET id = '{transfer}' WHERE id = '{capture}';"
        " UPDATE funds.transfers SET id = '{capture}' WHERE id = '{forged}'",
        "transfers",
        "{capture}",
    ),
}
TILES = {
    "a hash of a tile": Damage(
        "UPDATE funds.log_tiles SET hashes = overlay(hashes PLACING '\\x00'::bytea FROM 300)", "log_tiles", "0 0"
    ),
    "the root of a tile": Damage(
        "UPDATE funds.log_tiles SET root = sha256('x') WHERE level = 0 AND index = 0", "log_tiles", "0 0"
    ),
    "the entries of a tile": Damage(
        "UPDATE funds.log_tiles SET entry_ids[7] = entry_ids[8], entry_ids[8] = entry_ids[7]", "log_tiles", "0 0"
    ),
    "a tile was deleted": Damage("DELETE FROM funds.log_tiles WHERE index = 0", "log_tiles", "0 0"),
    "a tile is not full": Damage(
        "UPDATE funds.log_tiles SET entry_ids = entry_ids[1:9] WHERE index = 0", "log_tiles", "0 0"
    ),
    "a tile was put in that will be full one day": Damage(
        "INSERT INTO funds.log_tiles (ledger_id, level, index, root) VALUES (1, 1, 0, sha256('x'))", "log_tiles", "1 0"
    ),
    "a tile was put in": Damage(
        "INSERT INTO funds.log_tiles SELECT ledger_id, level, 7, root, first_entry_id, entry_ids, hashes"
        " FROM funds.log_tiles WHERE index = 0",
        "log_tiles",
        "0 7",
    ),
    "the last entry of a checkpoint": Damage(
        "UPDATE funds.log_checkpoints SET last_entry_id = '{forged}' WHERE size = 100", "log_checkpoints", "100"
    ),
    "the root of a checkpoint": Damage(
        "UPDATE funds.log_checkpoints SET root = sha256('x') WHERE size = 100", "log_checkpoints", "100"
    ),
    "the size of a checkpoint": Damage(
        "UPDATE funds.log_checkpoints SET size = 99 WHERE size = 100", "log_checkpoints", "99"
    ),
    "the note of a checkpoint": Damage(
        "UPDATE funds.log_checkpoints SET note = (SELECT note FROM funds.log_checkpoints WHERE size = 1)"
        " WHERE size = 100",
        "log_checkpoints",
        "100",
    ),
    "the signature of a checkpoint": Damage(
        "UPDATE funds.log_checkpoints SET note = left(note, -9) || 'AAAAAAA=' || chr(10) WHERE size = 100",
        "log_checkpoints",
        "100",
    ),
    "the later checkpoints were deleted": Damage(
        "DELETE FROM funds.log_checkpoints WHERE size > 100", "log_tiles", "0 1"
    ),
    "all checkpoints were deleted": Damage("DELETE FROM funds.log_checkpoints", "log_tiles", "0 1"),
}


class Logged(NamedTuple):
    """A ledger with facts of every kind, in full tiles or behind the last one, sealed; and its owner."""

    names: dict[str, str]
    owner: Transactions
    size: int
    checkpoint: str
    """The size of the checkpoint that the facts were sealed with."""


async def _logged(database: TestDatabase, owner: Transactions, *, before: int, after: int) -> Logged:
    """Facts between ``before`` entries and ``after`` others, sealed in steps: 1, 100, and then as they come."""

    async def seal(session: Session) -> int:
        assert await LedgerLog(session, LEDGER).seal(SIGNER.sign_for("main")) is Sealing.COMPLETE
        return int(await session.scalar(text("SELECT max(size) FROM funds.log_checkpoints")) or 0)

    connection = await asyncpg.connect(database.superuser_url)
    await connection.execute("DELETE FROM funds.history")  # what the migration wrote
    for first, last in ((1, 1), (2, 100), (101, before)):
        await connection.execute(_ADD, BEFORE, first, last)
        await owner.run_once(seal)
    facts = await fill_ledger(database)
    checkpoint = await owner.run_once(seal)
    for first, last in ((1, after - 5), (after - 4, after)):
        await connection.execute(_ADD, AFTER, first, last)
        size = await owner.run_once(seal)
    await connection.close()
    new = UUID(int=facts.transfer.int + 1)
    return Logged({"forged": FORGED, "new": str(new), **vars(facts)}, owner, size, str(checkpoint))


async def make(postgres: TestPostgres, *, before: int, after: int) -> AsyncIterator[Logged]:
    async with postgres.fresh_database() as database:
        pool = Database.connect_verification(database.owner_url, Settings())
        yield await _logged(database, Transactions(pool, RetryLimits(1, 60.0)), before=before, after=after)
        await pool.close()


@pytest.fixture(scope="module")
async def full(postgres: TestPostgres) -> AsyncIterator[Logged]:
    """The facts are in the first of two full tiles."""
    async for one in make(postgres, before=200, after=300):
        yield one


@pytest.fixture(scope="module")
async def edge(postgres: TestPostgres) -> AsyncIterator[Logged]:
    """The facts are behind the last full tile."""
    async for one in make(postgres, before=260, after=20):
        yield one


async def findings(session: Session, keys: LogKeys = KEYS) -> tuple[list[Finding], int]:
    """Return what is wrong with the log, and how many entries were compared with it."""
    found: list[Finding] = []
    count = 0
    place: tuple[str, ...] | None = Scope.LOG.first
    while place is not None:
        step = await verify_tiles(session, MAIN, place, keys)
        found += step.findings
        count, place = count + step.entry_count, step.next
    return found, count


async def findings_after(logged: Logged, statement: str = "", keys: LogKeys = KEYS) -> list[Finding]:
    """Return what is found after ``statement``, which is taken back."""

    async def work(session: Session) -> None:
        if statement:
            await execute(session, DROP_CONSTRAINTS)
            await execute(session, statement.format(**logged.names))
        raise TakenBackError((await findings(session, keys))[0])

    with pytest.raises(TakenBackError) as done:
        await logged.owner.run_once(work)
    return done.value.findings


def places(found: list[Finding]) -> set[tuple[str, str]]:
    return {(one.table, one.id) for one in found}


async def test_a_sound_log_is_compared_whole(full: Logged, edge: Logged) -> None:
    for logged in (full, edge):
        assert await logged.owner.run_once(findings) == ([], logged.size)


async def test_slices_give_what_the_whole_gives(full: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_integrity, "TILES_AT_ONCE", 1)
    assert await full.owner.run_once(findings) == ([], full.size)
    damage = ENTRIES["a transfer's amount"]
    assert len(await findings_after(full, damage.statement)) == 1


@pytest.mark.parametrize("done", ENTRIES)
async def test_a_changed_entry_is_named(done: str, full: Logged, edge: Logged) -> None:
    statement, table, row = ENTRIES[done]
    assert places(await findings_after(full, statement)) == {(table, row.format(**full.names))}
    assert places(await findings_after(edge, statement)) == {("log_checkpoints", edge.checkpoint)}


@pytest.mark.parametrize("done", SETS)
async def test_what_is_missing_new_or_moved_is_named(done: str, full: Logged, edge: Logged) -> None:
    statement, table, row = SETS[done]
    found = places(await findings_after(full, statement))
    assert (table, row.format(**full.names)) in found
    assert len(found) <= 2, found
    assert places(await findings_after(edge, statement)) == {("log_checkpoints", edge.checkpoint)}


@pytest.mark.parametrize("done", TILES)
async def test_damage_to_the_log_itself_is_named(done: str, full: Logged) -> None:
    statement, table, row = TILES[done]
    found = await findings_after(full, statement)
    assert (table, row) in places(found), found
    assert len(found) <= 2, found
    assert all(one.table in {"log_tiles", "log_checkpoints"} for one in found)


async def test_an_entry_and_its_leaf_changed_together_contradict_the_checkpoints(full: Logged) -> None:
    """Whoever edits an entry, its leaf and the tile's root cannot edit what was signed of it."""

    async def work(session: Session) -> None:
        await execute(session, ENTRIES["a transfer's amount"].statement.format(**full.names))
        tile = (await Repositories(session).log.leaf_tiles(MAIN, 0, limit=1))[0]
        history = Repositories(session).history
        entries = await history.entries(MAIN, LEDGER.source, limit=256)
        hashes = [leaf_hash(entry.text.encode()) for entry in entries]
        assert b"".join(hashes) != tile.hashes
        await session.execute(
            text("UPDATE funds.log_tiles SET hashes = :hashes, root = :root WHERE level = 0 AND index = 0"),
            {"hashes": b"".join(hashes), "root": root_of(hashes)},
        )
        raise TakenBackError((await findings(session))[0])

    with pytest.raises(TakenBackError) as done:
        await full.owner.run_once(work)
    found = done.value.findings
    assert {one.rule for one in found} == {CHECKPOINTS_STAND}
    assert full.checkpoint in {one.id for one in found}
    assert "100" not in {one.id for one in found}, "what was sealed before it stands"


async def test_a_changed_entry_that_was_sealed_alone_is_named_at_the_edge(edge: Logged) -> None:
    async def work(session: Session) -> None:
        await execute(
            session,
            "INSERT INTO funds.history (ledger_id, id, type, data, created_at)"
            " VALUES (1, 'e0000000-ffff-7fff-8fff-000000000000', 'key.fenced', '{}', now())",
        )
        assert await LedgerLog(session, LEDGER).seal(SIGNER.sign_for("main")) is Sealing.COMPLETE
        await execute(session, "UPDATE funds.history SET request_id = 'r' WHERE id::text LIKE 'e0000000-ffff-7fff-8f%'")
        raise TakenBackError((await findings(session))[0])

    with pytest.raises(TakenBackError) as done:
        await edge.owner.run_once(work)
    assert places(done.value.findings) == {("history", "e0000000-ffff-7fff-8fff-000000000000")}


async def test_signatures_of_an_older_key_are_verified_by_it(full: Logged) -> None:
    """Old checkpoints keep the signatures they have."""
    forged = TILES["the signature of a checkpoint"].statement
    older = LogKeys([OTHER.verifier_key(""), SIGNER.verifier_key("")])
    for keys in (KEYS, older):
        assert await findings_after(full, keys=keys) == []
        assert places(await findings_after(full, forged, keys=keys)) == {("log_checkpoints", "100")}


async def test_a_checkpoint_by_no_known_key_is_named(full: Logged) -> None:
    """Whoever has the database and no key can sign with one of their own."""
    checkpoints = await full.owner.run_once(
        lambda session: Repositories(session).log.checkpoints(MAIN, above=0, to=9999)
    )
    [stored] = [one for one in checkpoints if one.size == 100]
    note = OTHER.sign_for("main")(stored.size, stored.root).replace("'", "''")
    found = await findings_after(full, f"UPDATE funds.log_checkpoints SET note = '{note}' WHERE size = 100")
    assert places(found) == {("log_checkpoints", "100")}
    assert found[0].wrong.startswith("no key signed it that the settings name")
    unknown = await findings_after(full, keys=LogKeys([OTHER.verifier_key("")]))
    assert places(unknown) == {("log_checkpoints", str(one.size)) for one in checkpoints}


async def test_without_a_key_no_signature_is_verified(full: Logged) -> None:
    assert await findings_after(full, keys=LogKeys()) == []
    assert await findings_after(full, TILES["the signature of a checkpoint"].statement, keys=LogKeys()) == []
    assert len(await findings_after(full, TILES["the note of a checkpoint"].statement, keys=LogKeys())) == 1


WITNESS = SignerKey.generate("witness.example/w1", KeyKind.WITNESS)
UNKNOWN = SignerKey.generate("witness.example/w2", KeyKind.WITNESS)
COSIGN = (
    "INSERT INTO funds.log_cosignatures (ledger_id, size, witness, signature) VALUES (1, {size}, '{witness}', '{line}')"
)


async def cosign(
    logged: Logged, by: SignerKey, *, size: int = 100, of: int = 100, named: SignerKey | None = None
) -> str:
    """The statement that adds the cosignature of the checkpoint of ``of`` entries to that of ``size``."""
    stored = await logged.owner.run_once(lambda session: Repositories(session).log.checkpoint(MAIN, size=of))
    assert stored is not None
    line = notes.cosign(notes.parse_note(stored.note).text, by, 1_700_000_000)
    return COSIGN.format(size=size, witness=name_of((named or by).verifier_key), line=line)


async def test_cosignatures_are_verified(full: Logged) -> None:
    keys = LogKeys(KEYS.logs, [WITNESS.verifier_key])
    assert await findings_after(full, await cosign(full, WITNESS), keys) == []
    of_another = await cosign(full, WITNESS, of=1)
    by_another = await cosign(full, UNKNOWN, named=WITNESS)
    no_line = COSIGN.format(size=100, witness=name_of(WITNESS.verifier_key), line="signed")
    for statement in (of_another, by_another, no_line):
        [found] = await findings_after(full, statement, keys)
        assert (found.rule, found.table) == (COSIGNATURES_STAND, "log_cosignatures")
        assert found.id == f"100 {name_of(WITNESS.verifier_key)}"
    for size in (99, 9_999):
        [found] = await findings_after(full, await cosign(full, WITNESS, size=size), keys)
        assert (found.id.split()[0], found.wrong) == (str(size), "there is no such checkpoint")


async def test_what_an_unknown_witness_cosigned_is_told(full: Logged) -> None:
    statement = await cosign(full, UNKNOWN)

    async def work(session: Session) -> None:
        await execute(session, DROP_CONSTRAINTS)
        await execute(session, statement)
        steps = [step async for step in verify_ledger(session, MAIN, keys=LogKeys(KEYS.logs, [WITNESS.verifier_key]))]
        assert [step.unknown_witnesses for step in steps if step.unknown_witnesses] == [{name_of(UNKNOWN.verifier_key)}]
        raise TakenBackError([one for step in steps for one in step.findings if one.table == "log_cosignatures"])

    with pytest.raises(TakenBackError) as done:
        await full.owner.run_once(work)
    assert done.value.findings == []


async def test_a_note_of_another_log_is_told(full: Logged) -> None:
    elsewhere = LogSigner(SignerKey.generate(ORIGIN).secret_text(), "other.example")
    found = await findings_after(full, keys=LogKeys([elsewhere.verifier_key("")]))
    assert {one.wrong for one in found} == {"its note is of another log"}


async def test_a_tile_above_the_leaves(test_database: TestDatabase) -> None:
    """65,536 entries: the tile of level 1 is compared with those below it."""
    pool = Database.connect_verification(test_database.owner_url, Settings(statement_timeout_ms=60_000))
    owner = Transactions(pool, RetryLimits(1, 60.0))
    connection = await asyncpg.connect(test_database.superuser_url)
    await connection.execute("DELETE FROM funds.history")
    await connection.execute(_ADD, BEFORE, 1, 65_536)
    await connection.close()
    logged = Logged({}, owner, 65_536, "")

    async def seal(session: Session) -> Sealing:
        return await LedgerLog(session, LEDGER).seal(SIGNER.sign_for("main"))

    while await owner.run_once(seal) is Sealing.UNFINISHED:
        pass
    assert await owner.run_once(findings) == ([], 65_536)
    assert places(await findings_after(logged, "UPDATE funds.log_tiles SET root = sha256('x') WHERE level = 1")) == {
        ("log_tiles", "1 0")
    }
    assert places(await findings_after(logged, "DELETE FROM funds.log_tiles WHERE level = 1")) == {("log_tiles", "1 0")}
    await pool.close()
