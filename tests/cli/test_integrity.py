"""``funds verify`` as an auditor uses it: what it prints, and its exit codes."""

import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from service.audit.log_signer import LogSigner
from service.proofs.keys import SignerKey
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Transactions
from service.workers.sealer import Sealer
from tests.support.ledger_at_work import fill_ledger
from tests.support.log import ORIGIN
from tests.support.servers import TestDatabase, TestPostgres, run_funds

NOWHERE = "postgresql://nobody@/?host=/none"


@pytest.fixture(scope="module")
async def shared(postgres: TestPostgres) -> AsyncIterator[TestDatabase]:
    """A database with a ledger of every kind of fact."""
    async with postgres.fresh_database() as database:
        await fill_ledger(database)
        yield database


def verify(database: TestDatabase, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command under the auditor's role."""
    return run_funds("verify", *arguments, settings={"FUNDS_DATABASE_URL": database.auditor_url})


def test_a_sound_ledger(shared: TestDatabase) -> None:
    done = verify(shared)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"the installation: sound \(.*\)\nmain: sound \(.*\)\n", done.stdout)
    assert done.stderr == ""


async def test_damage_is_named(shared: TestDatabase) -> None:
    owner = await asyncpg.connect(shared.owner_url)
    edit = "UPDATE funds.transfers SET credit_balance_after = credit_balance_after + $1 WHERE id = $2"
    edited = await owner.fetchval("SELECT id FROM funds.transfers ORDER BY id LIMIT 1")
    await owner.execute(edit, 1, edited)
    try:
        told, written = verify(shared), verify(shared, "--json", "--ledger", "main")
        later = verify(shared, "--since", "2999-01-01T00:00:00Z", "--full")
    finally:
        await owner.execute(edit, -1, edited)
        await owner.close()
    assert told.returncode == written.returncode == 1
    assert "main: DAMAGED, 1 finding (" in told.stdout
    assert f"  transfers {edited}: it leaves account " in told.stdout
    report = json.loads(written.stdout)
    assert report["sound"] is False
    [ledger] = report["ledgers"]
    [finding] = ledger["findings"]
    assert (ledger["ledger"], ledger["finding_count"]) == ("main", 1)
    assert finding["table"] == "transfers"
    assert finding["id"] == str(edited)
    assert finding["rule"] == "running balances follow line by line"
    assert later.returncode == 0
    assert later.stdout.endswith("main: sound (1 rows looked at)\n"), "only the open hold may change"


async def test_a_forged_token_is_named(shared: TestDatabase) -> None:
    owner = await asyncpg.connect(shared.owner_url)
    forge = "INSERT INTO funds.tokens (id, client, token_hash, scopes) VALUES ($1, 'x', $2, '{admin}')"
    forged = uuid4()
    await owner.execute(forge, forged, b"x" * 32)
    try:
        told, written, elsewhere = verify(shared), verify(shared, "--json"), verify(shared, "--ledger", "main")
    finally:
        await owner.execute("DELETE FROM funds.tokens WHERE id = $1", forged)
        await owner.close()
    assert (told.returncode, written.returncode, elsewhere.returncode) == (1, 1, 0)
    assert told.stdout.startswith("the installation: DAMAGED, 1 finding (")
    assert f"  tokens {forged}: it is not revoked, and the history has 0 entries of its making" in told.stdout
    installation, _ = json.loads(written.stdout)["ledgers"]
    assert installation["ledger"] is None
    assert [one["id"] for one in installation["findings"]] == [str(forged)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--since", "yesterday"], "a time with its offset from UTC"),
        (["--since", "2026-11-26T09:30:00"], "a time with its offset from UTC"),
        (["--ledger", "Main"], "A ledger's name has 1 to 63"),
        (["--ledger", "other"], "There is no ledger 'other'."),
        (["main"], "Got unexpected extra argument"),
        (["--replica"], "FUNDS_READ_DATABASE_URL must name one."),
        (["--replica", "--checkpoint", __file__], "leave --replica out"),
    ],
)
def test_wrong_use(shared: TestDatabase, arguments: list[str], sentence: str) -> None:
    refused = verify(shared, *arguments)
    assert refused.returncode == 2
    assert sentence in " ".join(refused.stderr.replace("│", " ").split())


def test_wrong_settings() -> None:
    assert run_funds("verify", settings={"FUNDS_NO_SUCH": "1"}).returncode == 2


def test_what_cannot_be_reached_is_not_called_damaged() -> None:
    away = run_funds("verify", settings={"FUNDS_DATABASE_URL": NOWHERE})
    assert (away.returncode, away.stdout) == (3, "")
    assert away.stderr.startswith("Not checked: The database at ")


def test_what_may_not_be_read_is_not_called_damaged(shared: TestDatabase) -> None:
    refused = run_funds("verify", settings={"FUNDS_DATABASE_URL": shared.operator_url})
    assert (refused.returncode, refused.stdout) == (3, "")
    assert refused.stderr.startswith("Not checked: permission denied for table ")


def test_a_ledger_that_is_gone_is_not_called_sound(shared: TestDatabase) -> None:
    assert verify(shared, "--ledger", f"ledger-{uuid4().hex[:8]}").returncode == 2


async def seal(database: TestDatabase, signer: LogSigner) -> None:
    pool = Database.connect_few(database.service_url, Settings(), 1)
    sealer = Sealer(Transactions(pool, Settings().read_limits), signer.sign_for)
    assert not await sealer.work()
    await pool.close()


async def test_the_log_is_compared_with_its_entries(test_database: TestDatabase) -> None:
    """Checkpoints are held against the key and the origin of the settings, where there are any."""
    await fill_ledger(test_database)
    key = SignerKey.generate(ORIGIN).secret_text()
    await seal(test_database, LogSigner(key, ORIGIN))

    def verified(**settings: str) -> subprocess.CompletedProcess[str]:
        return run_funds("verify", settings={"FUNDS_DATABASE_URL": test_database.auditor_url, **settings})

    told, signed, other = (
        verified(),
        verified(FUNDS_LOG_KEY=key, FUNDS_LOG_ORIGIN=ORIGIN),
        verified(FUNDS_LOG_KEY=key, FUNDS_LOG_ORIGIN="other.example"),
    )
    assert (told.returncode, signed.returncode, other.returncode) == (0, 0, 1), told.stdout + signed.stdout
    assert told.stdout == signed.stdout
    sound = r"{}: sound \(\d+ rows looked at, \d+ entries compared with the log\)\n"
    assert re.fullmatch(sound.format("the installation") + sound.format("main"), told.stdout)
    assert "its note is of another log" in other.stdout


async def test_the_history_is_compared_with_checkpoints_that_were_kept(
    test_database: TestDatabase, tmp_path: Path
) -> None:
    await fill_ledger(test_database)
    signer = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN)
    await seal(test_database, signer)
    auditor = await asyncpg.connect(test_database.auditor_url)
    latest = "SELECT size, root, note FROM funds.log_checkpoints WHERE ledger_id = $1 ORDER BY size DESC LIMIT 1"
    size, root, note = await auditor.fetchrow(latest, await auditor.fetchval("SELECT id FROM funds.ledgers"))
    installation = await auditor.fetchval(f"SELECT note FROM ({latest}) AS of_installation", 0)
    await auditor.close()
    settings = {"FUNDS_DATABASE_URL": test_database.auditor_url}
    trusting = settings | {"FUNDS_LOG_VERIFIER_KEYS": str(signer.verifier_key(""))}

    def compared(*notes: str, settings: dict[str, str] = trusting) -> subprocess.CompletedProcess[str]:
        files = [tmp_path / str(number) for number, _ in enumerate(notes)]
        for file, text in zip(files, notes, strict=True):
            file.write_text(text)
        return run_funds("verify", *(f"--checkpoint={file}" for file in files), settings=settings)

    stand = compared(note, installation)
    assert stand.returncode == 0, stand.stdout
    assert stand.stdout.count("compared with the log, 1 kept checkpoint compared)\n") == 2

    sign = signer.sign_for("main")
    for kept, wrong in (
        (sign(size + 2, root), f"the history has {size} entries: 2 are missing, from entry {size} on"),
        (sign(size - 1, root), f"the first {size - 1} entries are not those that it is of"),
        (signer.sign_for("gone")(3, root), "there is no ledger 'gone': all of its entries are missing"),
    ):
        found = compared(note, kept)
        assert (found.returncode, found.stdout.count("DAMAGED")) == (1, 1)
        assert f": {wrong}\n    breaks: every checkpoint that was kept outside is of this history\n" in found.stdout

    forged = LogSigner(SignerKey.generate(ORIGIN).secret_text(), ORIGIN).sign_for("main")(size, root)
    elsewhere = LogSigner(SignerKey.generate(ORIGIN).secret_text(), "other.example").sign_for("main")(size, root)
    for refused, sentence in (
        (compared(forged), "not signed by the trusted key"),
        (compared(elsewhere), "of which no key is known"),
        (compared("nothing"), "The note"),
        (compared(note, settings=settings), "FUNDS_LOG_VERIFIER_KEYS must name"),
    ):
        assert refused.returncode == 2, refused.stdout
        assert sentence in " ".join(refused.stderr.replace("│", " ").split())
