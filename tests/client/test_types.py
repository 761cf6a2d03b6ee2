"""What callers' type checkers see. mypy holds this module to it in `make check`; nothing of it is run."""

from typing import Any, assert_type
from uuid import UUID

from funds_client import AccountView, BlockingFundsClient, FundsClient, HoldView, Intent, ItemResult, TransferView
from funds_client.errors import InsufficientFundsError
from funds_client.intents import TransferIntent

A, B = UUID(int=1), UUID(int=2)


async def typed(funds: FundsClient, error: InsufficientFundsError) -> None:
    assert_type(await funds.transfer(debit=A, credit=B, amount=5, currency="USD"), TransferView)
    assert_type(await funds.open_hold(debit=A, credit=B, amount=5, currency="USD"), HoldView)
    assert_type(await funds.capture(A), TransferView)
    assert_type(await funds.open_account(currency="USD"), AccountView)
    assert_type(await funds.batch([]), list[ItemResult])
    intent = funds.intents.transfer(debit=A, credit=B, amount=5, currency="USD")
    assert_type(intent, TransferIntent)
    assert_type(await funds.resume(intent), TransferView)
    assert_type(Intent.from_bytes(b""), Intent[Any])
    async for hold in funds.list_holds():
        assert_type(hold, HoldView)
    assert_type(error.reason.shortfall, int)
    await funds.transfer(debit="a", credit=B, amount=5, currency="USD")  # type: ignore[arg-type]
    await funds.transfer(debit=A, credit=B, amount=5)  # type: ignore[call-arg]


def blocking(funds: BlockingFundsClient) -> None:
    assert_type(funds.transfer(debit=A, credit=B, amount=5, currency="USD"), TransferView)
    assert_type(funds.get_account(A), AccountView)
    for transfer in funds.list_transfers():
        assert_type(transfer, TransferView)


def test_it_is_checked() -> None:
    assert callable(typed)
    assert callable(blocking)
