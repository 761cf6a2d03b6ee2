"""A ledger in which everything happens, and what its accounts came to, recomputed from the raw rows."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Self
from uuid import UUID

import asyncpg

from tests.api.moves import expire, freed, open_hold, post_capture, post_reversal, post_void
from tests.support.http_ledger import JSON, LedgerClient
from tests.support.servers import TestDatabase

ACCOUNTS = 4
OPENED_BEFORE = timedelta(days=40)
"""How long before now the accounts were opened: value dates can lie as far back."""

Row = dict[str, Any]


async def make_busy(ledger: LedgerClient, database: TestDatabase, chance: Random, count: int) -> list[JSON]:
    """Open accounts and do ``count`` things with each of them by ``chance``: transfers of every value date, holds that
    are captured in parts, voided, expired or left open, reversals. Return the accounts.
    """
    accounts = [
        await ledger.account(normal_side=("credit", "debit")[number % 2], reference=f"account {number}")
        for number in range(ACCOUNTS)
    ]
    superuser = await asyncpg.connect(database.superuser_url)
    await superuser.execute(
        "UPDATE funds.accounts SET created_at = created_at - $1::interval WHERE id = ANY($2)",
        OPENED_BEFORE,
        [account["id"] for account in accounts],
    )
    await superuser.close()
    await asyncio.gather(*(_do(ledger, database, accounts, Random(chance.random()), count) for _ in range(ACCOUNTS)))
    return accounts


async def _do(ledger: LedgerClient, database: TestDatabase, accounts: list[JSON], chance: Random, count: int) -> None:
    transfers, holds = [], []
    for _ in range(count):
        debit, credit = chance.sample(accounts, 2)
        dated = {"effective_at": _value_date(chance)} if chance.random() < 0.4 else {}
        match chance.choice(["move", "move", "move", "hold", "capture", "void", "expire", "reverse"]):
            case "move":
                words = {"reference": f"ref {chance.randrange(9)}", "description": "=1+1"}
                transfers.append(await ledger.move(debit, credit, chance.randint(1, 1_000), **dated, **words))
            case "hold":
                holds.append(await open_hold(ledger, debit, credit, chance.randint(2, 1_000)))
            case "capture" if holds:
                hold = chance.choice(holds)
                part: JSON = {"amount": chance.randint(1, hold["amount"])} if chance.random() < 0.8 else {}
                await post_capture(ledger, hold, final=chance.random() < 0.3, **part)
            case "void" if holds:
                await post_void(ledger, holds.pop(chance.randrange(len(holds))))
            case "expire" if holds and chance.random() < 0.2:
                hold = holds.pop()
                if (await expire(ledger, database, hold))["status"] == "open":
                    await freed(ledger, hold)
            case "reverse" if transfers:
                await post_reversal(ledger, transfers.pop(chance.randrange(len(transfers))))


def _value_date(chance: Random) -> str:
    """A day in the past or in the future, so that several transfers share it; often one of the last seconds."""
    if chance.random() < 0.3:
        seconds = timedelta(seconds=chance.uniform(-2, 2))
        return (datetime.now(UTC) + seconds).isoformat()
    days = timedelta(days=chance.randint(-int(OPENED_BEFORE.days) + 1, 30))
    return (datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + days).isoformat()


@dataclass(frozen=True)
class RawRows:
    """The raw rows of a ledger, and what follows from them by adding all of them up."""

    transfers: list[Row]
    holds: list[Row]

    @classmethod
    async def read(cls, ledger: LedgerClient, database: TestDatabase) -> Self:
        connection = await asyncpg.connect(database.superuser_url)
        rows = [
            [
                dict(row)
                for row in await connection.fetch(
                    f"SELECT row.* FROM funds.{table} AS row JOIN funds.ledgers AS ledger ON ledger.id = row.ledger_id"
                    " WHERE ledger.name = $1 ORDER BY row.id",
                    ledger.name,
                )
            ]
            for table in ("transfers", "holds")
        ]
        await connection.close()
        return cls(*rows)

    def of(self, account: JSON) -> list[Row]:
        """The transfers of an account, with ``signed``, the amount on its normal side, and the other account."""
        account_id = UUID(account["id"])
        found = []
        for row in self.transfers:
            for side, other in (("debit", "credit"), ("credit", "debit")):
                if row[f"{side}_account_id"] == account_id:
                    signed = row["amount"] if side == account["normal_side"] else -row["amount"]
                    found.append(row | {"signed": signed, "counterparty": row[f"{other}_account_id"]})
        return found

    def balance(self, account: JSON, as_of: datetime, known_at: datetime) -> int:
        return sum(
            row["signed"] for row in self.of(account) if row["effective_at"] <= as_of and row["created_at"] <= known_at
        )

    def held(self, account: JSON, known_at: datetime) -> tuple[int, int]:
        """What was reserved on its debit side and on its credit side."""
        sides = [
            sum(
                row["amount"]
                - sum(
                    capture["amount"]
                    for capture in self.transfers
                    if capture["hold_id"] == row["id"] and capture["created_at"] <= known_at
                )
                for row in self.holds
                if row[f"{side}_account_id"] == UUID(account["id"])
                and row["created_at"] <= known_at
                and (row["closed_at"] is None or row["closed_at"] > known_at)
            )
            for side in ("debit", "credit")
        ]
        return sides[0], sides[1]

    def version(self, account: JSON, known_at: datetime) -> int:
        """How often its counters had changed."""
        holds = [
            row for row in self.holds if UUID(account["id"]) in {row["debit_account_id"], row["credit_account_id"]}
        ]
        changes = [row["created_at"] for row in (*self.of(account), *holds)]
        changes += [row["closed_at"] for row in holds if row["status"] in {"voided", "expired"}]
        return sum(at <= known_at for at in changes)

    def times(self, chance: Random, count: int) -> list[datetime]:
        """Times at which something is recorded or dated, just before and just after."""
        facts = [row[name] for row in self.transfers for name in ("created_at", "effective_at")]
        facts += [row[name] for row in self.holds for name in ("created_at", "closed_at") if row[name] is not None]
        return [chance.choice(facts) + chance.choice([-1, 0, 0, 1]) * timedelta(microseconds=1) for _ in range(count)]
