"""What we write, verified by the libraries of others in Go (``go/main.go``). Skipped where Go is absent, or its
modules are, with the reason.
"""

import json
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.proofs.keys import SignerKey
from tests.proofs.logs import Log
from tests.support.go import GO_SECONDS_MAX, go_program
from tests.support.http_ledger import JSON, LedgerClient, answer, item, keyed
from tests.support.log import INTERVAL_SECONDS, ORIGIN, latest_checkpoint, log_lines
from tests.support.servers import RunningService

SOURCES = Path(__file__).parent / "go"
LOG = Log(70)
WITNESSES = [str(key.verifier_key) for key in LOG.witnesses]

pytestmark = pytest.mark.timeout(GO_SECONDS_MAX)


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in Go."""
    return go_program(SOURCES, tmp_path_factory.mktemp("go") / "verifier")


def answers(verifier: Path, cases: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run([verifier], input=json.dumps(cases), capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def receipt_case(index: int, size: int) -> dict[str, object]:
    return {
        "entry": LOG.entries[index].decode(),
        "receipt": LOG.receipt(index, size, witnesses=3),
        "key": LOG.vkey,
        "witnesses": WITNESSES,
    }


def growth_case(old: int, new: int) -> dict[str, object]:
    path = [b64encode(hash_).decode() for hash_ in LOG.tree.proof(old, new)]
    return {"old": str(LOG.checkpoint(old)), "new": str(LOG.checkpoint(new)), "path": path, "key": LOG.vkey}


def test_receipts_and_growth(verifier: Path) -> None:
    receipts = [receipt_case(index, size) for size in (1, 2, 3, 7, 8, 33, 64, 70) for index in range(size)]
    growths = [growth_case(old, new) for new in (1, 2, 7, 8, 65, 70) for old in range(1, new + 1)]
    found = answers(verifier, {"receipts": receipts, "growths": growths})
    assert found == {"Receipts": [""] * len(receipts), "Growths": [""] * len(growths), "Logs": None}


def test_it_would_notice(verifier: Path) -> None:
    case = receipt_case(3, 8)
    receipt = str(case["receipt"])
    receipts = [
        case | {"entry": "another"},
        case | {"receipt": receipt.replace("index 3", "index 4")},
        case | {"receipt": receipt.replace("— witness-1.example", "— witness-4.example")},
        case | {"key": WITNESSES[0]},
    ]
    growths = [growth_case(7, 20) | {"path": []}, growth_case(7, 20) | {"new": str(LOG.checkpoint(21))}]
    found = answers(verifier, {"receipts": receipts, "growths": growths})
    assert "" not in found["Receipts"] + found["Growths"]


AWKWARD = '\u00fc\U0001f600 "quoted" \\ / \' <&> \u2028\t\r\n.'


@pytest.fixture
def service(serve: Callable[..., RunningService]) -> RunningService:
    """``funds serve``, which seals at once."""
    key = SignerKey.generate(ORIGIN).secret_text()
    return serve(FUNDS_LOG_KEY=key, FUNDS_LOG_ORIGIN=ORIGIN, FUNDS_LOG_SEAL_INTERVAL_SECONDS=str(INTERVAL_SECONDS))


async def grow(ledger: LedgerClient) -> tuple[int, list[str]]:
    """Post some hundred transfers and something of every kind; return how many entries that makes, and the checkpoints
    on the way.
    """
    names = {"\uff21": AWKWARD, "\U0001f600": "2", "z": "", "a": "1"}  # UTF-16 would sort them in another order
    debit = await ledger.account(name=AWKWARD.split(maxsplit=1)[0], metadata=names)
    credit = await ledger.account(minimum_balance=0)
    await ledger.move(debit, credit, 2**60, description=AWKWARD, metadata=names)
    await ledger.post(credit, debit, amount=2**61)
    await ledger.revise(credit, minimum_balance=-(2**62), metadata=names)
    path = f"{ledger.path}/holds"
    hold: JSON = {"debit_account_id": credit["id"], "credit_account_id": debit["id"], "amount": 9, "currency": "USD"}
    opened = answer(await ledger.client.post(path, json=hold | {"metadata": names}, headers=keyed()))
    assert (await ledger.client.post(f"{path}/{opened['id']}/void", headers=keyed())).status_code == 200
    size, notes = 8, [await latest_checkpoint(ledger, size=8)]
    for transfers in (1, 37, 210, 300):  # across the borders of tiles, which are at 256 and 512
        posted = await ledger.batch(*(item(debit, credit, metadata=names) for _ in range(transfers)))
        assert answer(posted)["posted"] == transfers, posted.text
        size += transfers
        notes.append(await latest_checkpoint(ledger, size=size))
    return size, notes


async def receipt_of(ledger: LedgerClient, entry_id: str, vkey: str) -> dict[str, object]:
    answered = answer(await ledger.client.get(f"{ledger.path}/log/entries/{entry_id}/receipt"))
    return {"entry": answered["entry"], "receipt": answered["receipt"], "key": vkey}


async def growth_of(ledger: LedgerClient, notes: list[str], vkey: str) -> dict[str, object]:
    """The proof that the second of ``notes`` goes on from the first."""
    old, new = (note.split("\n")[1] for note in notes)
    proof = await ledger.client.get(f"{ledger.path}/log/consistency?from={old}&to={new}")
    head, from_, to, *path = proof.text.split("\n")[:-1]
    assert (head, from_, to) == ("funds/consistency-proof@v1", f"old {old}", f"new {new}")
    return {"old": notes[0], "new": notes[1], "path": path, "key": vkey}


async def test_what_a_running_service_answers(verifier: Path, service: RunningService) -> None:
    """Its receipts and checkpoints, the proofs between them, and its whole log: every entry is written again from what
    it says, and all together make the root that was signed.
    """
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers, timeout=30) as client:
        ledger = await LedgerClient.open(client, "abroad")
        size, notes = await grow(ledger)
        vkey = (await client.get(f"{ledger.path}/log/key")).text.strip()
        lines = await log_lines(ledger)
        assert len(lines) == size
        ids = [json.loads(line)["id"] for line in lines]
        receipts = [await receipt_of(ledger, entry_id, vkey) for entry_id in (*ids[::19], *ids[250:262], ids[-1])]
        growths = [
            await growth_of(ledger, [old, new], vkey) for number, new in enumerate(notes) for old in notes[: number + 1]
        ]
    logs = [{"entries": lines[: int(note.split("\n")[1])], "checkpoint": note, "key": vkey} for note in notes]
    found = answers(verifier, {"receipts": receipts, "growths": growths, "logs": logs})
    assert found == {"Receipts": [""] * len(receipts), "Growths": [""] * len(growths), "Logs": [""] * len(logs)}
    other = lines[9].replace('"amount":1,', '"amount":2,')
    spaced = lines[9].replace('"amount":1,', '"amount": 1,')
    damaged = [logs[-1] | {"entries": [*lines[:9], line, *lines[10:]]} for line in (other, spaced, lines[8])]
    wrong = answers(verifier, {"logs": [*damaged, logs[-1] | {"entries": lines[:-1]}]})["Logs"]
    assert [sentence.partition(":")[0] for sentence in wrong] == [
        "the entries make another root",
        "entry 9 is written differently",
        "the entries make another root",
        f"{size - 1} entries under a checkpoint of {size}",
    ]
