"""Witnesses cosign checkpoints: soon, after they were away, whatever they remember; and no forged history."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from service.audit.log_signer import LogSigner
from service.audit.witnesses import Witness as Named
from service.errors import WitnessError
from service.proofs.keys import SignerKey, parse_verifier_key
from service.settings import Settings
from service.storage.database import Database
from service.storage.transactions import Transactions
from service.telemetry import metrics
from service.workers.sealer import Sealer
from service.workers.witness_client import Answer, Ask, WitnessClient
from service.workers.witnessing import ASKED_AT_ONCE, Witnessing
from tests.support.application import Application
from tests.support.database_faults import execute, superuser
from tests.support.http_ledger import LedgerClient, answer, item
from tests.support.log import INTERVAL_SECONDS, ORIGIN, cosigned_checkpoint, latest_checkpoint, sealed, serving_log
from tests.support.log_verifier import check_checkpoint, check_receipt
from tests.support.rows import add_created_ledger
from tests.support.servers import TestDatabase, run_funds
from tests.support.witness import Reply, Witness

KEY = SignerKey.generate(ORIGIN).secret_text()
SIGNER = LogSigner(KEY, ORIGIN)
LEDGER = "journal"
VERIFIER_KEY = str(SIGNER.verifier_key(LEDGER))


def trusting(name: str = "witness.example/w1") -> Witness:
    """A witness that knows the logs of the installation and of the ledger."""
    witness = Witness(name)
    witness.trusted = {ORIGIN: str(SIGNER.verifier_key("")), f"{ORIGIN}/{LEDGER}": VERIFIER_KEY}
    return witness


@pytest.fixture
async def witness() -> AsyncIterator[Witness]:
    async with trusting().listening() as witness:
        yield witness


@asynccontextmanager
async def witnessed(database: TestDatabase, *witnesses: Witness, **settings: Any) -> AsyncIterator[Application]:
    named = ",\n".join(witness.setting for witness in witnesses)
    async with serving_log(database, log_witnesses=named, **{"log_key": KEY} | settings) as application:
        yield application


@asynccontextmanager
async def ledger_of(application: Application, *, new: bool = True) -> AsyncIterator[LedgerClient]:
    async with application.client(application.settings.admin_token) as client:
        yield await LedgerClient.open(client, LEDGER) if new else LedgerClient(client, LEDGER)


class Told(logging.Handler):
    """What was logged about witnesses."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def refusals(self) -> list[str]:
        """Why the ledger's log is not cosigned."""
        return [
            vars(record)["reason"]
            for record in self.records
            if record.levelno == logging.ERROR and vars(record)["ledger"] == LEDGER
        ]

    def absences(self) -> list[str]:
        """Why a witness could not be asked."""
        return [vars(record)["reason"] for record in self.records if record.levelno == logging.WARNING]


@pytest.fixture
def told() -> Iterator[Told]:
    logger, handler = logging.getLogger("service.workers.witnessing"), Told()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for knows of no waiting test
            await asyncio.sleep(INTERVAL_SECONDS)


async def test_every_checkpoint_is_cosigned_soon_and_receipts_show_it(
    test_database: TestDatabase, witness: Witness, tmp_path: Path
) -> None:
    async with trusting("second.example").listening() as second, AsyncExitStack() as stack:
        application = await stack.enter_async_context(witnessed(test_database, witness, second))
        ledger = await stack.enter_async_context(ledger_of(application))
        debit, credit = await ledger.account(), await ledger.account()
        for size in range(4, 8):
            posted = await ledger.move(debit, credit)
            note = await cosigned_checkpoint(ledger, size=size, count=2)
            keys = [witness.verifier_key, second.verifier_key]
            head, times = check_checkpoint(note.encode(), VERIFIER_KEY, keys)
            assert (head.size, len(times)) == (size, 2)
        receipt = answer(await sealed(ledger, f"/transfers/{posted['id']}/receipt"))
        check_receipt(receipt["entry"].encode(), receipt["receipt"].encode(), VERIFIER_KEY, keys)
    files = [tmp_path / "entry", tmp_path / "receipt"]
    for file, text in zip(files, (receipt["entry"], receipt["receipt"]), strict=True):
        file.write_text(text)
    keys = ["--key", VERIFIER_KEY, "--witness", witness.verifier_key, "--witness", second.verifier_key]
    told = run_funds("verify-receipt", *map(str, files), *keys, settings={})
    assert (told.returncode, told.stderr) == (0, "")
    assert "cosigned by second.example at" in told.stdout
    assert f"and {witness.name} at" in told.stdout
    other = run_funds("verify-receipt", *map(str, files), *keys, "--witness", Witness().verifier_key, settings={})
    assert other.returncode == 1


async def test_a_receipt_is_of_a_cosigned_checkpoint_where_there_is_one(
    test_database: TestDatabase, witness: Witness
) -> None:
    """On a busy ledger the latest checkpoint is seldom cosigned yet."""
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        debit, credit = await ledger.account(), await ledger.account()
        posted = await ledger.move(debit, credit)
        await cosigned_checkpoint(ledger, size=4)
        witness.fault = lambda _: Reply(503)
        later = await ledger.move(debit, credit)
        await latest_checkpoint(ledger, size=5)
        cosigned = await ledger.client.get(f"{ledger.path}/log/checkpoint?cosigned=true")
        assert check_checkpoint(cosigned.content, VERIFIER_KEY, [witness.verifier_key])[0].size == 4
        receipt = answer(await sealed(ledger, f"/transfers/{posted['id']}/receipt"))
        found = check_receipt(
            receipt["entry"].encode(), receipt["receipt"].encode(), VERIFIER_KEY, [witness.verifier_key]
        )
        assert found.head.size == 4
        receipt = answer(await sealed(ledger, f"/transfers/{later['id']}/receipt"))
        found = check_receipt(receipt["entry"].encode(), receipt["receipt"].encode(), VERIFIER_KEY)
        assert found.head.size == 5


async def test_a_witness_that_was_away_cosigns_when_it_is_back(
    test_database: TestDatabase, witness: Witness, told: Told
) -> None:
    """While it is away, the log is sealed as ever, and other witnesses cosign it."""
    away = trusting("away.example")
    async with away.listening():
        pass  # it has a port from here on
    async with witnessed(test_database, away, witness) as application, ledger_of(application) as ledger:
        debit, credit = await ledger.account(), await ledger.account()
        assert (await ledger.batch(*(item(debit, credit) for _ in range(300)))).status_code == 201
        note = await cosigned_checkpoint(ledger, size=303)
        check_checkpoint(note.encode(), VERIFIER_KEY, [witness.verifier_key])
        assert told.absences()[0].startswith("away.example+")
        async with away.listening():
            note = await cosigned_checkpoint(ledger, size=303, count=2)
            check_checkpoint(note.encode(), VERIFIER_KEY, [away.verifier_key, witness.verifier_key])


async def test_a_witness_that_never_answers_holds_up_nothing(test_database: TestDatabase, witness: Witness) -> None:
    asked = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    silent = trusting("silent.example")
    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    silent.port = server.sockets[0].getsockname()[1]
    async with server, AsyncExitStack() as stack:
        settings = {"log_witness_timeout_seconds": 3600.0, "drain_timeout_seconds": 3600.0}
        application = await stack.enter_async_context(witnessed(test_database, silent, witness, **settings))
        ledger = await stack.enter_async_context(ledger_of(application))
        await asyncio.wait_for(asked.wait(), 30)
        for size in range(2, 5):
            await ledger.account()
            await cosigned_checkpoint(ledger, size=size)
        async with asyncio.timeout(30):
            await stack.aclose()


async def test_a_witness_that_knows_of_another_size_is_asked_from_there(
    test_database: TestDatabase, witness: Witness
) -> None:
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        debit, credit = await ledger.account(), await ledger.account()
        await cosigned_checkpoint(ledger, size=3)
        first = witness.latest[f"{ORIGIN}/{LEDGER}"]
        for _ in range(4):
            await ledger.move(debit, credit)
        await cosigned_checkpoint(ledger, size=7)
        witness.latest[f"{ORIGIN}/{LEDGER}"] = first  # as a backup of it has it
        await ledger.move(debit, credit)
        await cosigned_checkpoint(ledger, size=8)
        assert 409 in witness.statuses
        del witness.latest[f"{ORIGIN}/{LEDGER}"]
        await ledger.move(debit, credit)
        await cosigned_checkpoint(ledger, size=9)
    async with (
        witnessed(test_database, witness) as application,
        ledger_of(application, new=False) as ledger,
    ):  # a new process remembers nothing
        await ledger.move(debit, credit)
        await cosigned_checkpoint(ledger, size=10)


Lie = Callable[[Witness, Reply], Reply]

LIES: dict[str, Lie] = {
    "the cosignature of another checkpoint": lambda witness, _: Reply(200, witness.cosignature(b"log\n1\nroot\n\n")),
    "the cosignature of somebody else": lambda _, reply: Reply(200, reply.body.replace(b"w1", b"w2")),
    "a page": lambda _, __: Reply(200, b"<html>"),
    "nothing": lambda _, __: Reply(200, b""),
    "no text": lambda _, __: Reply(200, b"\xff\n"),
    "no number": lambda _, __: Reply(409, b"many\n"),
    "a large number": lambda _, __: Reply(409, b"999999999999999999\n"),
    "an unknown log": lambda _, __: Reply(404),
    "an unknown key": lambda _, __: Reply(403),
    "a request that is malformed": lambda _, __: Reply(400),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_what_is_no_cosignature_is_told_and_not_kept(
    test_database: TestDatabase, witness: Witness, told: Told, lie: Lie
) -> None:
    witness.fault = lambda reply: lie(witness, reply)
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        await until(lambda: bool(told.refusals()))
        assert (await latest_checkpoint(ledger, size=1)).count("\n— ") == 1
        async with superuser(application.database) as connection:
            assert await connection.fetchval("SELECT count(*) FROM funds.log_cosignatures") == 0
        witness.fault = lambda reply: reply
        await cosigned_checkpoint(ledger, size=1)


async def test_a_forged_history_is_not_cosigned(test_database: TestDatabase, witness: Witness, told: Told) -> None:
    """Whoever has the database and the key can seal another history, and no witness goes along."""
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        debit, credit = await ledger.account(), await ledger.account()
        posted = await ledger.move(debit, credit, 5)
        await cosigned_checkpoint(ledger, size=4)
    honest = witness.latest[f"{ORIGIN}/{LEDGER}"]
    await execute(
        test_database,
        f"UPDATE funds.transfers SET amount = 6 WHERE id = '{posted['id']}'",
        "TRUNCATE funds.log_cosignatures, funds.log_checkpoints, funds.log_tiles",
    )
    witness.replies.clear()
    async with (
        witnessed(test_database, witness) as application,
        ledger_of(application, new=False) as ledger,
    ):
        forged = await latest_checkpoint(ledger, size=4)
        head, _ = check_checkpoint(forged.encode(), VERIFIER_KEY)
        assert (head.size, head.root == honest.root) == (4, False)
        await until(lambda: any("it cosigned another history of 4 entries" in why for why in told.refusals()))
        await ledger.move(debit, credit)
        await witness.answered(422)
        await until(lambda: any("does not go on" in why for why in told.refusals()))
        assert (await latest_checkpoint(ledger, size=5)).count("\n— ") == 1
    assert witness.latest[f"{ORIGIN}/{LEDGER}"] == honest


async def test_a_log_that_was_cut_is_told_of(test_database: TestDatabase, witness: Witness, told: Told) -> None:
    """As after a restore of an older backup."""
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        await ledger.account()
        await cosigned_checkpoint(ledger, size=2)
        witness.latest[f"{ORIGIN}/{LEDGER}"] = witness.latest[f"{ORIGIN}/{LEDGER}"]._replace(size=9)
        await ledger.account()
        await until(lambda: any("it cosigned 9 entries, and the log has 3" in why for why in told.refusals()))


async def test_a_witness_goes_on_with_a_new_key(test_database: TestDatabase, witness: Witness, told: Told) -> None:
    """Once it was told of it: from what it cosigned under the old one."""
    new_key = SignerKey.generate(ORIGIN).secret_text()
    old_verifier_key = str(LogSigner(KEY, ORIGIN).verifier_key(""))
    new_verifier_key = str(LogSigner(new_key, ORIGIN).verifier_key(LEDGER))
    async with witnessed(test_database, witness) as application, ledger_of(application) as ledger:
        await cosigned_checkpoint(ledger, size=1)
    async with (
        witnessed(test_database, witness, log_key=new_key, log_verifier_keys=old_verifier_key) as application,
        ledger_of(application, new=False) as ledger,
    ):
        await ledger.account()
        await until(lambda: any("does not know the key" in why for why in told.refusals()))
        witness.trusted[f"{ORIGIN}/{LEDGER}"] = new_verifier_key
        note = await cosigned_checkpoint(ledger, size=2)
        check_checkpoint(note.encode(), new_verifier_key, [witness.verifier_key])


async def test_of_several_instances_one_asks(test_database: TestDatabase, witness: Witness) -> None:
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(witnessed(test_database, witness))
        for _ in range(2):
            await stack.enter_async_context(witnessed(test_database, witness))
        ledger = await stack.enter_async_context(ledger_of(application))
        for size in range(2, 12):
            await ledger.account()
            await cosigned_checkpoint(ledger, size=size)
        assert 409 not in witness.statuses


async def test_another_instance_takes_over(test_database: TestDatabase, witness: Witness) -> None:
    async with AsyncExitStack() as stack:
        async with witnessed(test_database, witness) as first, ledger_of(first) as ledger:
            await cosigned_checkpoint(ledger, size=1)
            second = await stack.enter_async_context(witnessed(test_database, witness))
        ledger = await stack.enter_async_context(ledger_of(second, new=False))
        await ledger.account()
        await cosigned_checkpoint(ledger, size=2)


class SlowClient:
    """Stands in for the way to a witness: takes its time, and counts who waits."""

    def __init__(self, refused: int | None = None) -> None:
        self.waiting = self.waiting_most = self.asked = 0
        self._refused = refused

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Ask]:
        yield self._ask

    async def _ask(self, _body: str) -> Answer:
        self.asked += 1
        if self.asked == self._refused:
            raise WitnessError("it is gone")
        self.waiting += 1
        self.waiting_most = max(self.waiting, self.waiting_most)
        await asyncio.sleep(0.05)
        self.waiting -= 1
        return Answer(404, "")


async def test_a_witness_is_asked_about_several_logs_at_once(
    test_database: TestDatabase, witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    async with AsyncExitStack() as stack:
        pool = Database.connect_few(test_database.service_url, Settings(), 1)
        stack.push_async_callback(pool.close)
        connection = await asyncpg.connect(test_database.superuser_url)
        stack.push_async_callback(connection.close)
        ledgers = [await add_created_ledger(connection, f"ledger-{number}") for number in range(3 * ASKED_AT_ONCE)]
        transactions = Transactions(pool, Settings().read_limits)
        await Sealer(transactions, SIGNER.sign_for).work()
        named = Named(parse_verifier_key(witness.verifier_key), "https://witness.example")

        def asking(client: SlowClient) -> Witnessing:
            return Witnessing(transactions, named, cast("WitnessClient", client))

        client = SlowClient()
        assert not await asking(client).work()
        assert client.waiting_most == ASKED_AT_ONCE
        assert client.asked == len(ledgers) + 2, "with main and the installation"
        away = SlowClient(refused=4)
        assert not await asking(away).work()
        assert away.asked <= ASKED_AT_ONCE + 4, "no more are begun once it cannot be asked"
        assert any(line.getMessage() == "a witness cannot be asked" for line in caplog.records)
        await connection.execute("DELETE FROM funds.ledgers WHERE id = $1", ledgers[0])
        client = SlowClient()
        await asking(client).work()
        assert client.asked == len(ledgers) + 1, "nobody is asked about a ledger that was taken away"


@pytest.mark.parametrize("status", [503, 404], ids=["away", "it takes no checkpoint of the log"])
async def test_how_long_not_every_log_is_cosigned_is_told(
    test_database: TestDatabase, witness: Witness, status: int
) -> None:
    def lag() -> float:
        [series] = metrics.witness_lag.series()
        return series.value

    witness.trusted[f"{ORIGIN}/main"] = str(SIGNER.verifier_key("main"))  # a ledger that is there from the start
    async with witnessed(test_database, witness, metrics=True) as application, ledger_of(application) as ledger:
        debit, credit = await ledger.account(), await ledger.account()
        await cosigned_checkpoint(ledger, size=3)
        await until(lambda: any(metrics.witness_lag.series()))
        witness.fault = lambda _: Reply(status)
        await ledger.move(debit, credit)
        await until(lambda: lag() > 2)
        witness.fault = lambda reply: reply
        await until(lambda: lag() < 1)
        await cosigned_checkpoint(ledger, size=4)
