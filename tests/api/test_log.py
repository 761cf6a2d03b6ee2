"""The log of a ledger over HTTP: checkpoints, receipts, proofs of consistency, entries."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from hashlib import sha256
from uuid import UUID

import msgspec
import pytest

from service.audit.witnesses import name_of
from service.proofs.errors import NotProvenError
from service.proofs.keys import KeyKind, SignerKey, parse_verifier_key
from service.proofs.notes import Signature, cosign, parse_note
from service.proofs.tree import leaf_hash, root_of
from service.proofs.verify import Trust, verify_checkpoint, verify_consistency, verify_receipt
from tests.support.application import Application, serving
from tests.support.database_faults import execute
from tests.support.http_ledger import JSON, LedgerClient, answer, problem
from tests.support.log import INTERVAL_SECONDS, ORIGIN, WAIT_SECONDS_MAX, latest_checkpoint, sealed, serving_log
from tests.support.log_verifier import check_checkpoint
from tests.support.servers import TestDatabase


@pytest.fixture
async def logged(test_database: TestDatabase) -> AsyncIterator[Application]:
    async with serving_log(test_database) as application:
        yield application


@pytest.fixture
async def ledger(logged: Application) -> AsyncIterator[LedgerClient]:
    async with logged.client(logged.settings.admin_token) as client:
        yield await LedgerClient.open(client, "journal")


async def trust_in(ledger: LedgerClient) -> Trust:
    response = await ledger.client.get(f"{ledger.path}/log/key")
    assert response.headers["content-type"].startswith("text/plain")
    return Trust([parse_verifier_key(response.text.strip())])


async def test_a_receipt_proves_a_transfer(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = await ledger.move(debit, credit, 1050, metadata={"b": "ü\n", "a": '"'})
    response = await sealed(ledger, f"/transfers/{posted['id']}/receipt")
    receipt = answer(response)
    trust = await trust_in(ledger)
    verify_receipt(receipt["entry"].encode(), receipt["receipt"], trust)
    entry = msgspec.json.decode(receipt["entry"])
    assert entry["id"] == entry["subject"] == posted["id"]
    assert (entry["type"], entry["source"]) == ("funds.transfer.posted", ledger.path)
    assert entry["client"] == posted["client"]
    assert entry["data"]["amount"] == 1050
    assert answer(await sealed(ledger, f"/log/entries/{posted['id']}/receipt"))["entry"] == receipt["entry"]


async def test_everything_is_in_the_log_and_every_line_is_a_leaf(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account(minimum_balance=0)
    for amount in range(1, 30):
        await ledger.move(debit, credit, amount)
    assert (await ledger.post(credit, debit, amount=10**9)).status_code == 422
    await ledger.revise(debit, name="till")
    trust = await trust_in(ledger)
    checkpoint = await latest_checkpoint(ledger, size=1 + 2 + 29 + 1 + 1)
    verified = verify_checkpoint(checkpoint, trust)
    assert verified.checkpoint.origin == f"{ORIGIN}/{ledger.name}"
    response = await ledger.client.get(f"{ledger.path}/log/entries")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert len(lines) == verified.checkpoint.size
    assert root_of(leaf_hash(line.encode()) for line in lines) == verified.checkpoint.root
    types = [msgspec.json.decode(line)["type"] for line in lines]
    assert types[:3] == ["funds.ledger.created", "funds.account.opened", "funds.account.opened"]
    assert types[3:-2] == ["funds.transfer.posted"] * 29
    assert types[-2:] == ["funds.command.rejected", "funds.account.revised"]
    some = await ledger.client.get(f"{ledger.path}/log/entries?from=3&to=5")
    assert some.text.splitlines() == lines[3:5]
    assert (await ledger.client.get(f"{ledger.path}/log/entries?from={len(lines)}")).text == ""


async def test_the_log_only_grows(ledger: LedgerClient) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    trust = await trust_in(ledger)
    old = await latest_checkpoint(ledger, size=3)
    for _ in range(5):
        await ledger.move(debit, credit)
    new = await latest_checkpoint(ledger, size=8)
    proof = await ledger.client.get(f"{ledger.path}/log/consistency?from=3&to=8")
    verify_consistency(old, new, proof.text, trust)
    assert (await ledger.client.get(f"{ledger.path}/log/consistency?from=3")).text == proof.text
    same = await ledger.client.get(f"{ledger.path}/log/checkpoint?size=3")
    assert same.text == old


async def test_whoever_holds_a_receipt_finds_the_key(ledger: LedgerClient, logged: Application) -> None:
    async with logged.client(None) as anonymous:
        keys = answer(await anonymous.get("/.well-known/funds-log"))
    assert (keys["origin"], keys["ledger_origin"]) == (ORIGIN, f"{ORIGIN}/{{ledger}}")
    assert keys["algorithm"] == "Ed25519"
    name = keys["ledger_origin"].format(ledger=ledger.name)
    made = _verifier_key(name, keys["public_key"])
    assert made == (await ledger.client.get(f"{ledger.path}/log/key")).text.strip()
    assert keys["verifier_key"] == _verifier_key(ORIGIN, keys["public_key"])
    check_checkpoint((await latest_checkpoint(ledger, size=1)).encode(), made)


def _verifier_key(name: str, public_key: str) -> str:
    """The verifier key as the documentation says that it is made."""
    data = b"\x01" + b64decode(public_key)
    key_id = sha256(name.encode() + b"\n" + data).hexdigest()[:8]
    return f"{name}+{key_id}+{b64encode(data).decode()}"


async def test_a_new_key_signs_what_is_new(test_database: TestDatabase) -> None:
    """What the old one signed keeps its signature, and the log goes on from it where the settings name it."""
    old_key, new_key = SignerKey.generate(ORIGIN), SignerKey.generate(ORIGIN)
    first_settings = {"log_key": old_key.secret_text()}
    async with (
        serving_log(test_database, **first_settings) as first,
        first.client(first.settings.admin_token) as client,
    ):
        ledger = await LedgerClient.open(client, "journal")
        debit, credit = await ledger.account(), await ledger.account()
        old, old_trust = await latest_checkpoint(ledger, size=3), await trust_in(ledger)
    new_settings = {"log_key": new_key.secret_text(), "log_verifier_keys": str(old_key.verifier_key)}
    async with (
        serving_log(test_database, **new_settings) as second,
        second.client(second.settings.admin_token) as client,
    ):
        ledger = LedgerClient(client, "journal")
        new_trust = await trust_in(ledger)
        assert await latest_checkpoint(ledger, size=3) == old
        posted = await ledger.move(debit, credit)
        new = await latest_checkpoint(ledger, size=4)
        verify_checkpoint(new, new_trust)
        for note, trust in ((old, new_trust), (new, old_trust)):
            with pytest.raises(NotProvenError):
                verify_checkpoint(note, trust)
        assert (await client.get(f"{ledger.path}/log/checkpoint?size=3")).text == old
        verify_checkpoint(old, old_trust)
        proof = (await client.get(f"{ledger.path}/log/consistency?from=3&to=4")).text
        verify_consistency(old, new, proof, Trust([*old_trust.keys, *new_trust.keys]))
        for entry_id in (debit["id"], posted["id"]):
            receipt = answer(await sealed(ledger, f"/log/entries/{entry_id}/receipt"))
            verify_receipt(receipt["entry"].encode(), receipt["receipt"], new_trust)


async def test_a_cosignature_that_is_none_is_not_shown(test_database: TestDatabase) -> None:
    """Readers throw away a checkpoint with a line that says to be of a witness whom they trust, and is not."""
    witness, other = (SignerKey.generate(f"witness.example/{name}", KeyKind.WITNESS) for name in ("w1", "w2"))
    known = str(witness.verifier_key)
    async with (
        serving_log(test_database, log_verifier_keys=known) as application,
        application.client(application.settings.admin_token) as client,
    ):
        ledger = await LedgerClient.open(client, "journal")
        account = await ledger.account()
        old = await latest_checkpoint(ledger, size=2)
        await ledger.account()
        new = await latest_checkpoint(ledger, size=3)
        trust = Trust((await trust_in(ledger)).keys, witnesses=[witness.verifier_key], witnesses_min=1)

        async def add(size: int, name: str, signature: Signature) -> None:
            await execute(
                application.database,
                "INSERT INTO funds.log_cosignatures (ledger_id, size, witness, signature)"
                f" SELECT id, {size}, '{name}', '{signature}' FROM funds.ledgers WHERE name = 'journal'",
            )

        name, text = name_of(witness.verifier_key), parse_note(old).text
        await add(2, name, cosign(text, witness, 1_700_000_000))
        await add(2, name_of(other.verifier_key), cosign(text, other, 1_700_000_000))
        await add(3, name, cosign(text, witness, 1_700_000_000))
        assert await latest_checkpoint(ledger, size=3) == new, "the line is of another checkpoint"
        cosigned = (await client.get(f"{ledger.path}/log/checkpoint?cosigned=true")).text
        assert cosigned == old + str(cosign(text, witness, 1_700_000_000)), "and nobody knows the other witness"
        verify_checkpoint(cosigned, trust)
        receipt = answer(await client.get(f"{ledger.path}/log/entries/{account['id']}/receipt"))
        verify_receipt(receipt["entry"].encode(), receipt["receipt"], trust)


async def test_the_installation_has_a_log_of_its_own(ledger: LedgerClient) -> None:
    """Where a ledger's is, without the ledger: of ledgers and tokens."""
    client = ledger.client
    installation = LedgerClient(client, "")
    installation.path = "/v1"
    note = await latest_checkpoint(installation, size=2)
    trust = await trust_in(installation)
    verified = verify_checkpoint(note, trust).checkpoint
    assert verified.origin == ORIGIN
    lines = (await client.get("/v1/log/entries")).text.splitlines()
    assert root_of(leaf_hash(line.encode()) for line in lines) == verified.root
    entries = [msgspec.json.decode(line) for line in lines]
    assert [one["data"]["name"] for one in entries] == ["main", ledger.name]
    fed = answer(await client.get("/v1/events"))["items"]
    assert fed == entries
    for line, entry in zip(lines, entries, strict=True):
        receipt = answer(await sealed(installation, f"/log/entries/{entry['id']}/receipt"))
        assert receipt["entry"] == line
        verify_receipt(line.encode(), receipt["receipt"], trust)
    proof = (await client.get("/v1/log/consistency?from=1")).text
    await LedgerClient.open(client, "another")
    new = await latest_checkpoint(installation, size=3)
    verify_consistency(note, new, (await client.get("/v1/log/consistency?from=2&to=3")).text, trust)
    assert proof.startswith("funds/consistency-proof@v1\nold 1\nnew 2\n")
    posted = await ledger.move(await ledger.account(), await ledger.account())
    problem(await client.get(f"/v1/log/entries/{posted['id']}/receipt"), 404, "entry_not_found")


async def test_what_is_not_there(ledger: LedgerClient) -> None:
    await latest_checkpoint(ledger, size=1)
    nothing = "00000000-0000-7000-8000-000000000000"
    problem(await ledger.client.get(f"{ledger.path}/log/checkpoint?size=99"), 404, "checkpoint_not_found")
    problem(await ledger.client.get(f"{ledger.path}/log/checkpoint?cosigned=true"), 404, "checkpoint_not_found")
    problem(await ledger.client.get(f"{ledger.path}/log/consistency?from=1&to=99"), 404, "checkpoint_not_found")
    problem(await ledger.client.get(f"{ledger.path}/log/consistency?from=2&to=1"), 404, "checkpoint_not_found")
    for entry_id in (nothing, str(UUID(int=0)), str(UUID(int=2**128 - 1))):
        problem(await ledger.client.get(f"{ledger.path}/log/entries/{entry_id}/receipt"), 404, "entry_not_found")
    problem(await ledger.client.get(f"{ledger.path}/transfers/{nothing}/receipt"), 404, "transfer_not_found")
    problem(await ledger.client.get(f"{ledger.path}/log/entries?from=-1"), 400, "malformed_request")


async def test_an_installation_without_a_key_seals_nothing(test_database: TestDatabase) -> None:
    async with serving(test_database) as application, application.client(application.settings.admin_token) as client:
        ledger = await LedgerClient.open(client, "unsigned")
        posted = await ledger.move(await ledger.account(), await ledger.account())
        problem(await client.get(f"{ledger.path}/log/key"), 404, "log_not_signed")
        problem(await client.get("/.well-known/funds-log"), 404, "log_not_signed")
        problem(await client.get(f"{ledger.path}/log/checkpoint"), 404, "checkpoint_not_found")
        problem(await client.get(f"{ledger.path}/transfers/{posted['id']}/receipt"), 503, "not_sealed")


async def test_a_changed_entry_gets_no_receipt(ledger: LedgerClient, logged: Application) -> None:
    debit, credit = await ledger.account(), await ledger.account()
    posted = await ledger.move(debit, credit, 5)
    await latest_checkpoint(ledger, size=4)
    await execute(logged.database, f"UPDATE funds.transfers SET amount = 6 WHERE id = '{posted['id']}'")
    problem(await ledger.client.get(f"{ledger.path}/transfers/{posted['id']}/receipt"), 500, "internal_error")


async def test_readiness_tells_of_the_log(ledger: LedgerClient, logged: Application) -> None:
    """Money goes on where the history is not what was sealed, and the log does not."""

    async def until(status: str) -> JSON:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                told: JSON = answer(await ledger.client.get("/health/ready"))
                if told["status"] == status:
                    return dict(told["checks"]["log"])
                await asyncio.sleep(INTERVAL_SECONDS)

    await latest_checkpoint(ledger, size=1)
    assert (await until("ready"))["note"].startswith("everything was sealed ")
    account = await ledger.account()
    await latest_checkpoint(ledger, size=2)
    await execute(logged.database, f"UPDATE funds.history SET request_id = 'r' WHERE id = '{account['id']}'")
    await ledger.account()
    assert (await until("degraded"))["reason"] == "seals 1 damaged ledger no further"
    await ledger.move(account, await ledger.account())
