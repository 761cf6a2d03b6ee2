"""The service in the model's terms: requests become commands of the real committer, results become answers."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import structs

from service.domain.accounts import AccountRevision
from service.domain.commands import (
    AnyCommand,
    CaptureHold,
    FenceKey,
    OpenHold,
    PostTransfer,
    ReverseTransfer,
    VoidHold,
)
from service.domain.decisions import CommandAnswer as Outcome
from service.domain.fingerprints import fingerprint
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from service.posting.committer import Committer
from service.settings import Settings
from service.storage.database import Database
from service.storage.integrity import RULES
from service.storage.transactions import Transactions
from service.workers.sweeper import HoldSweeper
from tests.property.facts import Answer
from tests.property.requests import Capture, Fence, Group, Open, Post, Request, Reverse, Void
from tests.support.committing import revise_account
from tests.support.invariants import broken_rules
from tests.support.rejections import told
from tests.support.rows import add_account, add_ledger

_EFFECTIVE_DAYS = {"yesterday": -1, "next week": 7, "long ago": -400, "in the far future": 400}
_EXPIRES: dict[str, dict[str, Any]] = {
    "usual": {},
    "in an hour": {"expires_in_seconds": 3600},
    "in the past": {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    "too late": {"expires_in_seconds": 32 * 86_400},
}
_NOBODY = UUID(int=0)
_COUNTERS = ("debits_posted", "credits_posted", "debits_held", "credits_held", "version")
_ACCOUNT_COLUMNS = ("id", "status", "minimum_balance", "maximum_balance", *_COUNTERS)
_DECISION_COLUMNS = ("client_id", "idempotency_key", "outcome", "resource_id", "problem ->> 'code' AS code")

KeyedCommand = PostTransfer | OpenHold | CaptureHold | VoidHold | ReverseTransfer | FenceKey


class Bank:
    """The parts of the service that move money, on a database whose ledgers it opens one after the other."""

    def __init__(
        self, committer: Committer, database: Database, settings: Settings, superuser: asyncpg.Connection
    ) -> None:
        self.committer = committer
        self.database = database
        self.settings = settings
        self.superuser = superuser
        self.sweeper = HoldSweeper(committer, Transactions(database, settings.read_limits), settings)
        self.opened_at = datetime.now(UTC)
        self._ledgers = 0

    async def open_ledger(self, accounts: dict[str, dict[str, Any]]) -> "BankLedger":
        self._ledgers += 1
        name = f"ledger-{self._ledgers}"
        ledger_id = await add_ledger(self.superuser, name)
        ids = {
            account: await add_account(self.superuser, ledger_id=ledger_id, **self._columns(**terms))
            for account, terms in accounts.items()
        }
        return BankLedger(self, name, ledger_id, ids)

    def _columns(self, opened: str, **columns: Any) -> dict[str, Any]:
        """Return the columns of an account; it is older than every value date unless it was ``opened`` today."""
        opened_at = self.opened_at - timedelta(days=500 if opened == "long ago" else 0)
        return columns | {"created_at": opened_at, "updated_at": opened_at}


class BankLedger:
    """One ledger of the bank. Remembers which holds and transfers came into being, in order of origin."""

    def __init__(self, bank: Bank, name: str, ledger_id: int, accounts: dict[str, UUID]) -> None:
        self._bank = bank
        self._name = name
        self._ledger_id = ledger_id
        self._accounts = accounts
        self._names = {str(account_id): account for account, account_id in accounts.items()} | {str(_NOBODY): "nobody"}
        self._transfers: list[UUID] = []
        self._holds: list[UUID] = []
        self._groups: list[UUID] = []

    async def send(self, groups: list[Group]) -> list[list[Answer]]:
        return self._answers(await self._bank.committer.submit(self._ledger_id, self._commands(groups)))

    async def dry_run(self, groups: list[Group]) -> list[list[Answer]]:
        """Return the answers of a dry run. Its identifiers name nothing, so they are not remembered."""
        known = self._transfers.copy(), self._holds.copy(), self._groups.copy()
        answers = self._answers(await self._bank.committer.dry_run(self._ledger_id, self._commands(groups)))
        self._transfers, self._holds, self._groups = known
        return answers

    async def time_is_over(self, hold: int) -> None:
        """Let the database's clock have reached the end of an open hold."""
        await self._bank.superuser.execute(
            "UPDATE funds.holds SET expires_at = clock_timestamp() WHERE ledger_id = $1 AND id = $2",
            self._ledger_id,
            self._holds[hold],
        )

    async def sweep(self) -> None:
        await self._bank.sweeper.sweep()

    async def revise(self, name: str, changes: dict[str, Any]) -> str:
        bank = self._bank
        revised = await revise_account(
            bank.database,
            bank.settings,
            self._ledger_id,
            self._accounts[name],
            AccountRevision(**changes),
            expected_tags=None,
        )
        return revised.result.code if isinstance(revised.result, Rejection) else "revised"

    async def broken_rules(self) -> dict[str, list[dict[str, Any]]]:
        """Return which invariants of every ledger this one breaks."""
        return await broken_rules(self._bank.superuser, RULES, [self._name])

    async def state(self) -> dict[str, Any]:
        """Return what is stored, in the words of ``Facts.state``."""
        transfers = [Transfer(**row) for row in await self._rows("transfers", Transfer.__struct_fields__)]
        holds = [Hold(**row) for row in await self._rows("holds", Hold.__struct_fields__)]
        return {
            "accounts": {
                self._names[str(row.pop("id"))]: [*row.values()]
                for row in await self._rows("accounts", _ACCOUNT_COLUMNS)
            },
            "holds": [self._hold(hold) for hold in holds],
            "transfers": [self._transfer(transfer) for transfer in transfers],
            "reversed": {
                self.number(row["transfer_id"]): row["reversed_amount"]
                for row in await self._rows("reversed_transfers", ("transfer_id", "reversed_amount"), "transfer_id")
            },
            "keys": {
                (row["client_id"], row["idempotency_key"]): (
                    row["outcome"],
                    row["code"] if row["outcome"] == "rejected" else self.number(row["resource_id"]),
                )
                for row in await self._rows("decisions", _DECISION_COLUMNS, "idempotency_key")
            },
        }

    async def _rows(self, table: str, columns: Sequence[str], order: str = "id") -> list[dict[str, Any]]:
        query = f"SELECT {', '.join(columns)} FROM funds.{table} WHERE ledger_id = $1 ORDER BY {order}"
        return [dict(row) for row in await self._bank.superuser.fetch(query, self._ledger_id)]

    def number(self, fact_id: UUID | None) -> int | None:
        """Return the number of a hold or transfer in order of origin."""
        return _place(self._holds if fact_id in self._holds else self._transfers, fact_id)

    # Requests become commands.

    def _commands(self, groups: list[Group]) -> list[list[AnyCommand]]:
        return [self._group(group) for group in groups]

    def _group(self, group: Group) -> list[AnyCommand]:
        """Return the commands of a group; the fingerprint of each covers the whole group, as in the API."""
        commands = [self._command(request) for request in group]
        if len(commands) == 1:
            return [*commands]
        shared = fingerprint("unit", [(command.idempotency_key, command.fingerprint) for command in commands])
        return [
            structs.replace(command, fingerprint=fingerprint("member", shared, command.fingerprint))
            for command in commands
        ]

    def _command(self, request: Request) -> KeyedCommand:
        ledger, client, key = self._ledger_id, request.client, request.key
        match request:
            case Post():
                return PostTransfer(
                    ledger_id=ledger,
                    client_id=client,
                    idempotency_key=key,
                    **self._sides(request),
                    at_most=request.at_most,
                    effective_at=self._effective(request.effective),
                )
            case Open():
                return OpenHold(
                    ledger_id=ledger,
                    client_id=client,
                    idempotency_key=key,
                    **self._sides(request),
                    **_EXPIRES[request.expires],
                )
            case Capture():
                return CaptureHold(
                    ledger_id=ledger,
                    client_id=client,
                    idempotency_key=key,
                    hold_id=self._fact(self._holds, request.hold),
                    amount=request.amount,
                    final=request.final,
                    effective_at=self._effective(request.effective),
                )
            case Void():
                return VoidHold(
                    ledger_id=ledger,
                    client_id=client,
                    idempotency_key=key,
                    hold_id=self._fact(self._holds, request.hold),
                )
            case Reverse():
                return ReverseTransfer(
                    ledger_id=ledger,
                    client_id=client,
                    idempotency_key=key,
                    transfer_id=self._fact(self._transfers, request.transfer),
                    amount=request.amount,
                    effective_at=self._effective(request.effective),
                )
            case Fence():
                return FenceKey(ledger_id=ledger, client_id=client, idempotency_key=key)
        raise AssertionError(f"there is no such request: {request}")

    def _sides(self, request: Post | Open) -> dict[str, Any]:
        return {
            "debit_account_id": self._accounts.get(request.debit, _NOBODY),
            "credit_account_id": self._accounts.get(request.credit, _NOBODY),
            "amount": request.amount,
            "currency": request.currency,
        }

    def _effective(self, word: str | None) -> datetime | None:
        return None if word is None else self._bank.opened_at + timedelta(days=_EFFECTIVE_DAYS[word])

    def _fact(self, facts: list[UUID], number: int) -> UUID:
        return facts[number] if 0 <= number < len(facts) else _NOBODY

    # Outcomes become answers.

    def _answers(self, outcomes: Sequence[Sequence[Outcome]]) -> list[list[Answer]]:
        return [[self._answer(outcome) for outcome in group] for group in outcomes]

    def _answer(self, answer: Outcome) -> Answer:
        outcome, replayed = answer.result, {"replayed": answer.replayed}
        match outcome:
            case Transfer():
                return replayed | self._transfer(outcome)
            case Hold():
                return replayed | self._hold(outcome)
            case Rejection():
                return replayed | self._rejection(outcome)
        return replayed | {"said": "fenced"}

    def _shared(self, fact: Transfer | Hold) -> Answer:
        return {
            "debit": self._names[str(fact.debit_account_id)],
            "credit": self._names[str(fact.credit_account_id)],
            "amount": fact.amount,
            "currency": fact.currency,
            "debit_version": fact.debit_account_version,
            "credit_version": fact.credit_account_version,
            "group": None if fact.group_id is None else _seen(self._groups, fact.group_id),
        }

    def _transfer(self, transfer: Transfer) -> Answer:
        return self._shared(transfer) | {
            "said": "transfer",
            "number": _seen(self._transfers, transfer.id),
            "hold": _place(self._holds, transfer.hold_id),
            "reverses": _place(self._transfers, transfer.reverses_id),
            "day": round((transfer.effective_at - self._bank.opened_at) / timedelta(days=1)),
            "debit_balance": transfer.debit_balance_after,
            "credit_balance": transfer.credit_balance_after,
        }

    def _hold(self, hold: Hold) -> Answer:
        return self._shared(hold) | {
            "said": "hold",
            "number": _seen(self._holds, hold.id),
            "captured": hold.captured_amount,
            "status": hold.status,
            "closed_debit_version": hold.closed_debit_account_version,
            "closed_credit_version": hold.closed_credit_account_version,
        }

    def _rejection(self, rejection: Rejection) -> Answer:
        members = told(rejection)
        words: Answer = {"said": rejection.code}
        if "account_id" in members:
            words["account"] = self._names[members.pop("account_id")]
        for name in ("hold", "transfer"):
            if f"{name}_id" in members:
                words[name] = self.number(UUID(members.pop(f"{name}_id")))
        if "reverses_id" in members:
            words["reverses"] = self.number(UUID(members.pop("reverses_id")))
        if "earlier_request" in members:
            words["earlier"] = members.pop("earlier_request")["outcome"]
        return words | members


def _seen(facts: list[UUID], fact_id: UUID) -> int:
    """Return the number of a fact; it is a new one when nobody saw it before."""
    if fact_id not in facts:
        facts.append(fact_id)
    return facts.index(fact_id)


def _place(facts: list[UUID], fact_id: UUID | None) -> int | None:
    return facts.index(fact_id) if fact_id in facts else None
