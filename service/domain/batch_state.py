"""The state of one batch: what storage loaded for it, how commands change it, and what has to be written."""

from collections.abc import Iterable, MutableMapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import Struct, structs

from service.domain.accounts import Account
from service.domain.decisions import Decision
from service.domain.history import HistoryEntry
from service.domain.holds import Hold
from service.domain.order import Moment
from service.domain.transfers import Transfer

K = TypeVar("K")
V = TypeVar("V")


class Contents(Struct, frozen=True, kw_only=True):
    """What storage loaded under locks for the commands at hand; ``clock`` is the database's, read after the locks.

    ``transfers`` are those to be reversed, ``reversed_amounts`` what has been reversed of them before. ``codes`` are
    those of the accounts, where a command's ``debit_limit`` names codes.
    """

    accounts: Iterable[Account]
    decisions: Iterable[Decision]
    clock: datetime
    holds: Iterable[Hold] = ()
    transfers: Iterable[Transfer] = ()
    reversed_amounts: dict[UUID, int] = {}
    codes: dict[UUID, str | None] = {}


class BatchState:
    """What a batch decides on. ``executor.Executor`` decides; here the effects are applied, and taken back where a
    group fails.

    What has to be written is in ``new_transfers``, ``new_holds``, ``new_decisions``, ``new_entries``, and in what
    changed: ``touched_accounts`` (ids, with the version that was loaded), ``touched_holds`` and ``touched_transfers``
    (ids, with the amount captured or reversed that was loaded).

    Everything is decided at one ``moment``: by its clock, and at its place in the order.
    """

    def __init__(self, contents: Contents, moment: Moment) -> None:
        self.accounts = {account.id: account for account in contents.accounts}
        self.holds = {hold.id: hold for hold in contents.holds}
        self.transfers = {transfer.id: transfer for transfer in contents.transfers}
        self.reversed_amounts = dict(contents.reversed_amounts)
        self.codes = contents.codes
        self.decisions = {(decision.client_id, decision.idempotency_key): decision for decision in contents.decisions}
        self.moment = moment
        self.new_transfers: list[Transfer] = []
        self.new_holds: list[Hold] = []
        self.new_decisions: list[Decision] = []
        self.new_entries: list[HistoryEntry] = []
        self.touched_accounts: dict[UUID, int] = {}
        self.touched_holds: dict[UUID, int] = {}
        self.touched_transfers: dict[UUID, int] = {}
        self._taken_transfers = 0
        self._undo: list[tuple[MutableMapping[Any, Any], Any, Any]] | None = None
        self._lengths: list[int] = []

    @property
    def changed(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.new_decisions or self.touched_accounts)

    def take_transfers(self) -> Sequence[Transfer]:
        """Return the new transfers that were not taken before. Not while a group is being executed: those of a group
        may still be taken back.
        """
        assert self._undo is None, "no group is being executed"
        taken = self.new_transfers[self._taken_transfers :]
        self._taken_transfers += len(taken)
        return taken

    def begin_group(self) -> None:
        """Remember every change from now on, so that it can be taken back."""
        self._undo = []
        self._lengths = [len(made) for made in self._made]

    def end_group(self) -> None:
        """Keep the changes since ``begin_group``."""
        self._undo = None

    def take_back_group(self) -> None:
        """Undo the changes since ``begin_group``."""
        assert self._undo is not None, "a group is being executed"
        for mapping, key, before in reversed(self._undo):
            if before is None:
                del mapping[key]
            else:
                mapping[key] = before
        self._undo = None
        for made, length in zip(self._made, self._lengths, strict=True):
            del made[length:]

    @property
    def _made(self) -> tuple[list[Any], ...]:
        return self.new_transfers, self.new_holds, self.new_decisions, self.new_entries

    def post(self, transfer: Transfer, *, held: int = 0) -> None:
        """Add ``transfer``, which changes what is held on both of its accounts by ``held``."""
        self._count(transfer.debit_account_id, transfer.credit_account_id, posted=transfer.amount, held=held)
        self.new_transfers.append(transfer)

    def post_capture(self, transfer: Transfer, hold: Hold) -> None:
        """Add the capture ``transfer``, which leaves ``hold`` so."""
        self.post(transfer, held=hold.reserved - self.holds[hold.id].reserved)
        self._change_hold(hold)

    def post_reversal(self, transfer: Transfer, reversed_id: UUID) -> None:
        """Add ``transfer``, which moves some of the transfer ``reversed_id`` back."""
        self.post(transfer)
        before = self.reversed_amounts.get(reversed_id, 0)
        self._first(self.touched_transfers, reversed_id, before)
        self._set(self.reversed_amounts, reversed_id, before + transfer.amount)

    def open(self, hold: Hold) -> None:
        """Add ``hold``."""
        self._count(hold.debit_account_id, hold.credit_account_id, held=hold.amount)
        self.new_holds.append(hold)

    def release(self, closed: Hold) -> None:
        """Free what the hold reserved that is ``closed`` now."""
        self._count(closed.debit_account_id, closed.credit_account_id, held=-self.holds[closed.id].reserved)
        self._change_hold(closed)

    def remember(self, decision: Decision) -> None:
        """Add ``decision``."""
        self._set(self.decisions, (decision.client_id, decision.idempotency_key), decision)
        self.new_decisions.append(decision)

    def record(self, entry: HistoryEntry) -> None:
        """Add ``entry`` to the ledger's history."""
        self.new_entries.append(entry)

    def _change_hold(self, after: Hold) -> None:
        self._first(self.touched_holds, after.id, self.holds[after.id].captured_amount)
        self._set(self.holds, after.id, after)

    def _count(self, debit_account_id: UUID, credit_account_id: UUID, *, posted: int = 0, held: int = 0) -> None:
        """Add to the counters of both accounts: one change, one version."""
        debit, credit = self.accounts[debit_account_id], self.accounts[credit_account_id]
        if self._undo is not None:
            self._undo.append((self.accounts, debit.id, structs.replace(debit)))
            self._undo.append((self.accounts, credit.id, structs.replace(credit)))
        self._first(self.touched_accounts, debit.id, debit.version)
        self._first(self.touched_accounts, credit.id, credit.version)
        debit.debits_posted += posted
        debit.debits_held += held
        debit.version += 1
        credit.credits_posted += posted
        credit.credits_held += held
        credit.version += 1
        debit.updated_at = credit.updated_at = self.moment.place

    def _set(self, mapping: MutableMapping[K, V], key: K, value: V) -> None:
        """Set what a failed group takes back."""
        if self._undo is not None:
            self._undo.append((mapping, key, mapping.get(key)))
        mapping[key] = value

    def _first(self, mapping: MutableMapping[K, V], key: K, value: V) -> None:
        """Set what is not set yet; a failed group takes it back."""
        if key not in mapping:
            self._set(mapping, key, value)
