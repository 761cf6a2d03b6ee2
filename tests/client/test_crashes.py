"""Who dies between keeping an intent and its answer: the service, or the caller. Somebody else resumes it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from funds_client import ClientSettings, FundsClient, Intent, OutcomeUnknownError
from tests.client.conftest import Accounts, MakeShell, Stage
from tests.client.http_faults import Fault, FaultyNetwork
from tests.client.shells import PATIENT
from tests.support.killing import kill_everything
from tests.support.servers import ROOT, RunningService

CALLER = """
import sys, uuid
from pathlib import Path
from funds_client import BlockingFundsClient
url, token, ledger, debit, credit, kept = sys.argv[1:]
with BlockingFundsClient(url, token=token, ledger=ledger) as funds:
    intent = funds.intents.transfer(debit=uuid.UUID(debit), credit=uuid.UUID(credit), amount=5, currency="USD")
    Path(kept).write_bytes(intent.to_bytes())
    funds.resume(intent)
"""


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.ANSWER_SILENCE])
async def test_a_caller_is_killed_before_its_answer(
    make_shell: MakeShell, stage: Stage, network: FaultyNetwork, ledger: str, accounts: Accounts, tmp_path: Path,
    fault: Fault,
) -> None:  # fmt: skip
    kept = tmp_path / "intent"
    network.meets, network.then = lambda seen: seen.path.endswith("/transfers"), fault
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALLER, network.url, stage.service.admin_token, ledger, str(accounts.bank),
        str(accounts.customer), str(kept), env=os.environ | {"PYTHONPATH": str(ROOT / "service" / "client")},
    )  # fmt: skip
    while not network.to("/transfers"):
        assert caller.returncode is None
        await asyncio.sleep(0.02)
    caller.kill()
    assert await caller.wait() == -signal.SIGKILL
    network.then = None

    shell = make_shell()
    transfer = await shell.call("resume", Intent.from_bytes(kept.read_bytes()))
    assert await shell.call("resume", Intent.from_bytes(kept.read_bytes())) == transfer
    assert (await shell.call("get_account", accounts.customer)).balance == 5
    assert len({seen.key for seen in network.to("/transfers")}) == 1


async def test_the_service_is_killed_between_keeping_and_sending(
    serve: Callable[..., RunningService],
) -> None:
    service = await asyncio.to_thread(serve)
    impatient = ClientSettings(deadline_seconds=0.5, fence_seconds=0.5)
    async with FundsClient(service.url, token=service.admin_token, settings=PATIENT) as funds:
        bank = await funds.open_account(currency="USD")
        customer = await funds.open_account(currency="USD")
        kept = funds.intents.transfer(debit=bank.id, credit=customer.id, amount=5, currency="USD").to_bytes()

    await asyncio.to_thread(kill_everything, service)
    async with FundsClient(service.url, token=service.admin_token, settings=impatient) as funds:
        with pytest.raises(OutcomeUnknownError) as caught:
            await funds.resume(Intent.from_bytes(kept))
        assert caught.value.intent.to_bytes() == kept

    again = await asyncio.to_thread(serve, FUNDS_ADMIN_TOKEN=service.admin_token, FUNDS_PORT=str(service.port))
    async with FundsClient(again.url, token=again.admin_token, settings=PATIENT) as funds:
        transfer = await funds.resume(Intent.from_bytes(kept))
        assert await funds.resume(Intent.from_bytes(kept)) == transfer
        assert (await funds.get_account(customer.id)).balance == 5
