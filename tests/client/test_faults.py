"""A real service, and all that goes wrong on the way to it and back: one transfer in the end, or certainly none."""

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from funds_client import ClientSettings, IntentError, OutcomeUnknownError, UnreachableError
from funds_client.errors import InsufficientFundsError, KeyFencedError, OverloadedError
from funds_client.ledger_intents import Intents
from tests.client.conftest import EACH_KIND, Accounts, MakeShell, Stage
from tests.client.http_faults import Fault, FaultyNetwork
from tests.client.shells import PATIENT, Shell
from tests.support import commit_proxy
from tests.support.invariants import assert_ledger_is_sound
from tests.support.servers import free_port

CUTS = [Fault.LOST, Fault.ANSWER_LOST, Fault.BODY_CUT, Fault.BAD_GATEWAY, Fault.OVERLOADED]
COMMIT_CUTS = [commit_proxy.Fault.REQUEST_LOST, commit_proxy.Fault.ANSWER_LOST, commit_proxy.Fault.ANSWER_RACED]
IMPATIENT = ClientSettings(attempt_seconds=0.5, deadline_seconds=1.0, fence_seconds=60)


def order(accounts: Accounts, **more: Any) -> dict[str, Any]:
    return {"debit": accounts.bank, "credit": accounts.customer, "amount": 5, "currency": "USD"} | more


async def balance(shell: Shell, accounts: Accounts) -> int:
    account = await shell.call("get_account", accounts.customer)
    return int(account.balance)


@EACH_KIND
@pytest.mark.parametrize("fault", CUTS)
async def test_a_transfer_is_posted_once(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts, fault: Fault
) -> None:
    shell = make_shell()
    network.faults.extend([fault, fault])
    transfer = await shell.call("transfer", **order(accounts))
    assert transfer.amount == 5
    assert await balance(shell, accounts) == 5
    sent = network.to("/transfers")
    assert len(sent) == 3
    assert len({(seen.key, seen.body) for seen in sent}) == 1


@EACH_KIND
@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.ANSWER_SILENCE])
async def test_silence_ends_and_the_transfer_is_posted_once(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts, fault: Fault
) -> None:
    shell = make_shell(settings=ClientSettings(attempt_seconds=1, deadline_seconds=100))
    network.faults.append(fault)
    await shell.call("transfer", **order(accounts))
    assert await balance(shell, accounts) == 5


@pytest.mark.parametrize("fault", COMMIT_CUTS)
async def test_a_commit_in_doubt_is_asked_about(
    make_shell: MakeShell, stage: Stage, network: FaultyNetwork, accounts: Accounts, fault: commit_proxy.Fault
) -> None:
    """The service itself cannot tell (it has one attempt here): `outcome: unknown`."""
    shell = make_shell()
    stage.commits.break_commits(fault)
    await shell.call("transfer", **order(accounts))
    assert stage.commits.faults_met == 1
    assert await balance(shell, accounts) == 5
    assert len({seen.key for seen in network.to("/transfers")}) == 1
    await assert_ledger_is_sound(stage.database_url, ledgers=[shell.client.ledger])


@EACH_KIND
@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.OVERLOADED])
async def test_every_write_happens_once(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts, fault: Fault
) -> None:
    shell = make_shell()
    network.meets = lambda seen: seen.method != "GET"

    async def written(name: str, /, *arguments: Any, **named: Any) -> Any:
        network.faults.append(fault)
        return await shell.call(name, *arguments, **named)

    transfer = await written("transfer", **order(accounts, amount=100))
    await written("reverse", transfer.id, amount=10)
    hold = await written("open_hold", debit=accounts.customer, credit=accounts.bank, amount=50, currency="USD")
    await written("capture", hold.id, amount=20, final=False)
    assert (await written("void", hold.id)).captured_amount == 20
    state = await shell.call("get_account_state", accounts.customer)
    assert (await written("revise_account", accounts.customer, etag=state.etag, name="Ada")).name == "Ada"
    await written("open_account", currency="USD", reference="once")
    assert await balance(shell, accounts) == 70
    assert not network.faults
    assert len(await shell.call("list_accounts", reference="once")) == 1


@EACH_KIND
async def test_at_the_deadline_a_fence_ends_the_doubt(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    """The requests never arrived: nothing was applied, and certainly never will be."""
    shell = make_shell(settings=IMPATIENT)
    network.meets, network.then = lambda seen: seen.path.endswith("/transfers"), Fault.SILENCE
    with pytest.raises(KeyFencedError):
        await shell.call("transfer", **order(accounts, key="rent"))
    network.then = None
    assert await balance(shell, accounts) == 0
    with pytest.raises(KeyFencedError):
        await shell.call("transfer", **order(accounts, key="rent"))


async def test_at_the_deadline_a_fence_finds_what_was_applied(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    shell = make_shell(settings=IMPATIENT)
    network.meets = lambda seen: seen.path.endswith("/transfers") and not network.to("/fence")
    network.then = Fault.ANSWER_SILENCE
    transfer = await shell.call("transfer", **order(accounts))
    assert transfer.amount == 5
    assert network.to("/fence")
    assert await balance(shell, accounts) == 5


async def test_a_refusal_after_a_lost_request_does_not_pass_for_certainty(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    """The first request was applied, and the token is revoked before the second one."""
    shell = make_shell()
    network.meets = lambda seen: seen.path.endswith("/transfers")
    network.faults.extend([Fault.ANSWER_LOST, Fault.REVOKED])
    assert (await shell.call("transfer", **order(accounts))).amount == 5
    assert network.to("/fence")


@EACH_KIND
async def test_where_nobody_can_be_asked_the_intent_comes_back_and_is_resumed(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts
) -> None:
    shell = make_shell(settings=ClientSettings(attempt_seconds=0.3, deadline_seconds=0.5, fence_seconds=0.5))
    network.then = Fault.ANSWER_SILENCE
    network.meets = lambda seen: seen.method == "POST"
    with pytest.raises(OutcomeUnknownError) as caught:
        await shell.call("transfer", **order(accounts))
    network.then = None
    patient = make_shell()
    first = await patient.call("resume", caught.value.intent)
    assert await patient.call("resume", caught.value.intent) == first
    assert await balance(patient, accounts) == 5


@EACH_KIND
async def test_nothing_is_sent_where_nobody_listens(make_shell: MakeShell, accounts: Accounts) -> None:
    shell = make_shell(settings=ClientSettings(deadline_seconds=0.5))
    shell.client._calls._url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError):
        await shell.call("transfer", **order(accounts))


async def test_nothing_is_in_doubt_where_connections_vanish(make_shell: MakeShell, accounts: Accounts) -> None:
    """Nobody answers the first packet: whoever listens takes no more connections."""
    with socket.socket() as deaf, ExitStack() as waiting:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # more than it lets wait
            one = waiting.enter_context(socket.socket())
            one.settimeout(0)
            one.connect_ex(deaf.getsockname())
        shell = make_shell(settings=replace(PATIENT, connect_seconds=0.2, retries_saved_max=2, retries_per_call=0))
        shell.client._calls._url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="ConnectTimeout"):
            await shell.call("transfer", **order(accounts))


async def test_a_rejection_has_its_numbers(make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts) -> None:
    shell = make_shell()
    await shell.call("transfer", **order(accounts))
    network.faults.append(Fault.ANSWER_LOST)
    with pytest.raises(InsufficientFundsError) as caught:
        await shell.call("transfer", debit=accounts.customer, credit=accounts.bank, amount=12, currency="USD")
    reason = caught.value.reason
    assert (reason.account_id, reason.available_balance, reason.minimum_balance, reason.shortfall) == (
        accounts.customer, 5, 0, 7,
    )  # fmt: skip


@EACH_KIND
async def test_a_storm_of_503_is_not_fed(make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts) -> None:
    settings = ClientSettings(retries_saved_max=10, backoff_seconds=0.001, backoff_seconds_max=0.01)
    shell = make_shell(settings=settings)
    network.then = Fault.OVERLOADED

    async def one() -> None:
        with pytest.raises(OverloadedError):
            await shell.call("transfer", **order(accounts))

    await asyncio.gather(*(one() for _ in range(100)))
    assert 100 < len(network.to("/transfers")) <= 100 * 1.2 + 10
    network.then = None
    await shell.call("transfer", **order(accounts))
    assert await balance(shell, accounts) == 5


@pytest.mark.parametrize("key", ["a..b", "a/b", 'a"b\\c', "%2F", "~!*'()"])
async def test_a_key_is_any_key(make_shell: MakeShell, accounts: Accounts, key: str) -> None:
    shell = make_shell()
    transfer = await shell.call("transfer", **order(accounts, key=key))
    assert (await shell.call("get_outcome", key)).transfer == transfer
    assert (await shell.call("fence", key)).outcome == "applied"


@pytest.mark.parametrize("key", ["..", "a/./b", "", "a b", "ä", "x" * 256])
def test_a_key_that_no_fence_could_name_is_not_taken(key: str) -> None:
    with pytest.raises(IntentError):
        Intents("main").void(UUID(int=1), key=key)
