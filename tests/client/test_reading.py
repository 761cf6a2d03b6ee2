"""Lists to their end, and statements, over a network that fails."""

from datetime import UTC, datetime, timedelta

import pytest

from funds_client import ledger_reads
from funds_client.errors import AccountNotFoundError, VersionMismatchError
from funds_client.ledger_reads import after
from funds_client.wire.pages import Page
from tests.client.conftest import EACH_KIND, Accounts, MakeShell
from tests.client.http_faults import Fault, FaultyNetwork


@EACH_KIND
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_list_is_read_to_its_end(
    make_shell: MakeShell, network: FaultyNetwork, accounts: Accounts, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_reads, "PAGE_ITEMS", 2)
    shell = make_shell()
    for amount in range(1, 8):
        await shell.call("transfer", debit=accounts.bank, credit=accounts.customer, amount=amount, currency="USD")
    network.meets = lambda seen: seen.method == "GET"
    network.faults.extend([Fault.LOST, Fault.BODY_CUT, Fault.BAD_GATEWAY, Fault.OVERLOADED, Fault.ANSWER_LOST])
    listed = [transfer.amount for transfer in await shell.call("list_transfers", order=order)]
    assert listed == (list(range(1, 8)) if order == "asc" else list(range(7, 0, -1)))
    now = datetime.now(UTC)
    lines = await shell.call(
        "list_statement_lines", accounts.customer, start=now - timedelta(days=1), end=now + timedelta(days=1)
    )
    assert [(line.amount, line.balance) for line in lines][-2:] == [(6, 21), (7, 28)]
    assert await shell.call("list_holds", account_id=accounts.customer) == []


def test_a_list_goes_on_after_a_page_without_items() -> None:
    """What is sifted may leave a page empty; the end is where the cursor stays, or where there is none."""
    assert after(Page([], "b"), "a") == "b"
    assert after(Page([], "a"), "a") is None
    assert after(Page([1], "a"), "a") == "a"
    assert after(Page([1], None), "a") is None


async def test_balances_and_outcomes_are_read(make_shell: MakeShell, accounts: Accounts) -> None:
    shell = make_shell()
    transfer = await shell.call(
        "transfer", debit=accounts.bank, credit=accounts.customer, amount=9, currency="USD", key="nine"
    )
    assert (await shell.call("get_balance", accounts.customer)).balance == 9
    before = datetime.now(UTC) - timedelta(days=1)
    assert (await shell.call("get_balance", accounts.customer, as_of=before)).balance == 0
    both = await shell.call("get_balances", [accounts.bank, accounts.customer])
    assert [one.balance for one in both.items] == [-9, 9]
    assert (await shell.call("get_outcome", "nine")).transfer == transfer
    assert (await shell.call("get_outcome", "ten")).outcome == "never_seen"
    assert (await shell.call("fence", "ten")).outcome == "fenced"
    assert await shell.call("get_transfer", transfer.id) == transfer
    with pytest.raises(AccountNotFoundError) as caught:
        await shell.call("get_account", transfer.id)
    assert caught.value.reason.account_id == transfer.id


async def test_a_revision_is_of_the_state_that_was_read(make_shell: MakeShell, accounts: Accounts) -> None:
    shell = make_shell()
    state = await shell.call("get_account_state", accounts.customer)
    revised = await shell.call("revise_account", accounts.customer, etag=state.etag, maximum_balance=100)
    assert revised.maximum_balance == 100
    with pytest.raises(VersionMismatchError):
        await shell.call("revise_account", accounts.customer, etag=state.etag, maximum_balance=200)
    assert (await shell.call("revise_account", accounts.customer, maximum_balance=None)).maximum_balance is None
