"""The textbook: the pattern everyone writes. Litestar, a transaction per request, ORM objects, rows locked in order.

It runs on the service's own schema and rows and keeps the same promises (a key applies once, no balance falls below
its minimum, running balances on every transfer), so that the two ways are compared and not two amounts of work. It
is spared tokens, problem documents, logging and strict decoding.
"""

import os
import random
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Litestar, post
from litestar.exceptions import ClientException, NotFoundException
from litestar.logging import LoggingConfig
from litestar.params import HeaderParameter, JSONBody
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from service.domain.identifiers import ENTROPY_BITS, identifier
from service.storage.rows import AccountRow, DecisionRow, TransferRow
from tests.benchmarks.serving import DATABASE_URL

LEDGER, CLIENT = 1, "textbook"
POOL_SIZE = 16


class TransferRequest(Struct, frozen=True):
    """The body of a request."""

    debit_account_id: UUID
    credit_account_id: UUID
    amount: int
    currency: str


engine = create_async_engine(
    os.environ[DATABASE_URL].replace("postgresql://", "postgresql+asyncpg://"), pool_size=POOL_SIZE, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@post("/v1/ledgers/main/transfers")
async def post_transfer(
    data: JSONBody[TransferRequest], idempotency_key: Annotated[str, HeaderParameter(name="Idempotency-Key")]
) -> dict[str, Any]:
    """Post one transfer in one transaction."""
    fingerprint = sha256(msgspec.json.encode(data)).digest()
    async with sessions() as session, session.begin():
        accounts = {
            account.id: account
            for account in await session.scalars(
                select(AccountRow)
                .where(
                    AccountRow.ledger_id == LEDGER, AccountRow.id.in_((data.debit_account_id, data.credit_account_id))
                )
                .order_by(AccountRow.id)
                .with_for_update()
            )
        }
        earlier = await session.get(DecisionRow, (LEDGER, CLIENT, idempotency_key))
        if earlier is not None:
            if earlier.fingerprint != fingerprint:
                raise ClientException("idempotency key reused", status_code=422)
            return _view(await session.get_one(TransferRow, (LEDGER, earlier.resource_id)))
        if len(accounts) < 2:
            raise NotFoundException("account not found")
        debit, credit = accounts[data.debit_account_id], accounts[data.credit_account_id]
        transfer = _move(debit, credit, data, idempotency_key)
        session.add(transfer)
        session.add(
            DecisionRow(
                ledger_id=LEDGER,
                client_id=CLIENT,
                idempotency_key=idempotency_key,
                fingerprint=fingerprint,
                operation="post_transfer",
                outcome="applied",
                resource_id=transfer.id,
                created_at=transfer.created_at,
            )
        )
    return _view(transfer)


def _move(debit: AccountRow, credit: AccountRow, request: TransferRequest, key: str) -> TransferRow:
    """Check the rules and move the money; both accounts' balances are on the credit side here."""
    for account in (debit, credit):
        if account.status != "open" or account.currency != request.currency:
            raise ClientException("account cannot be used", status_code=409)
    available = debit.credits_posted - debit.debits_posted - debit.debits_held
    if debit.minimum_balance is not None and available - request.amount < debit.minimum_balance:
        raise ClientException("insufficient funds", status_code=422)
    now = datetime.now(UTC)
    debit.debits_posted += request.amount
    credit.credits_posted += request.amount
    for account in (debit, credit):
        account.version += 1
        account.updated_at = now
    return TransferRow(
        ledger_id=LEDGER,
        id=identifier(now, 0, random.getrandbits(ENTROPY_BITS)),
        debit_account_id=debit.id,
        credit_account_id=credit.id,
        amount=request.amount,
        currency=request.currency,
        client_id=CLIENT,
        idempotency_key=key,
        debit_account_version=debit.version,
        credit_account_version=credit.version,
        debit_balance_after=debit.credits_posted - debit.debits_posted,
        credit_balance_after=credit.credits_posted - credit.debits_posted,
        metadata_={},
        effective_at=now,
        created_at=now,
    )


def _view(transfer: TransferRow) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "debit_account_id": transfer.debit_account_id,
        "credit_account_id": transfer.credit_account_id,
        "amount": transfer.amount,
        "currency": transfer.currency,
        "debit_balance_after": transfer.debit_balance_after,
        "credit_balance_after": transfer.credit_balance_after,
        "created_at": transfer.created_at,
    }


def create_app() -> Litestar:
    """Return the application."""
    logging = LoggingConfig(log_exceptions="always", disable_stack_trace={404})
    return Litestar([post_transfer], openapi_config=None, logging_config=logging)
