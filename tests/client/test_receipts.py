"""Receipts are verified as they arrive, with a key that the caller has kept."""

import httpx
import msgspec
import pytest

from funds_client import ReceiptError
from service.proofs.keys import SignerKey
from tests.client.conftest import Accounts, MakeShell, Stage


async def test_a_receipt_proves_the_transfer(
    make_shell: MakeShell, stage: Stage, ledger: str, accounts: Accounts
) -> None:
    async with httpx.AsyncClient(base_url=stage.service.url, headers=stage.service.headers) as http:
        key = (await http.get(f"/v1/ledgers/{ledger}/log/key")).text.strip()
    shell = make_shell(log_key=key)
    transfer = await shell.call("transfer", debit=accounts.bank, credit=accounts.customer, amount=5, currency="USD")
    receipt = await shell.call("get_receipt", transfer)  # asked for until it is sealed
    assert str(transfer.id) in receipt.entry
    assert await shell.call("get_receipt", accounts.bank) != receipt

    changed = msgspec.structs.replace(transfer, amount=500)
    with pytest.raises(ReceiptError, match="another entry"):
        await shell.call("get_receipt", changed)

    other = str(SignerKey.generate(key.partition("+")[0]).verifier_key)
    with pytest.raises(ReceiptError, match="not signed by the trusted key"):
        await make_shell(log_key=other).call("get_receipt", transfer)
    assert await make_shell().call("get_receipt", transfer) is not None
