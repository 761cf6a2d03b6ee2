"""The log of a ledger: signed checkpoints, receipts, proofs of consistency, and the entries under them."""

from base64 import b64encode
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, MediaType, Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from msgspec import Meta, Struct

from service.access.principal import AUDIT, Principal
from service.api.context import LedgerRef, Services
from service.api.http.problems import responses
from service.api.resources.installation import (
    FOR_ADMINS,
    FOR_AUDITORS,
    FOR_READERS,
    OF_INSTALLATION,
    operation_id,
)
from service.audit.ledger_log import LedgerLog
from service.audit.log_keys import LogKeys
from service.domain.history import NOT_APPLIED
from service.domain.rejections import TransferNotFound
from service.errors import ProblemError
from service.proofs.consistency import ConsistencyProof
from service.proofs.receipts import Receipt
from service.storage.database import Session
from service.storage.repositories import Repositories
from service.storage.repositories.history import Document
from service.storage.transactions import Reader
from service.wire.log import LogKeysView, ReceiptView
from service.wire.reasons import CheckpointNotFound, EntryNotFound, Forbidden, InternalError, LogNotSigned, NotSealed

Size = Annotated[int, Meta(ge=1, le=2**62)]
Index = Annotated[int, Meta(ge=0, le=2**62)]

ENTRIES_MAX = 1000
"""How many entries one answer has at most."""


class LogController(Controller):
    """The log of a ledger."""

    path = "/v1/ledgers/{ledger_name:str}/log"
    tags = ("Log",)
    opt = FOR_READERS

    @get(
        "/checkpoint",
        media_type=MediaType.TEXT,
        operation_id=operation_id("get{}Checkpoint"),
        responses=responses(CheckpointNotFound),
    )
    async def get_checkpoint(
        self,
        services: NamedDependency[Services],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        size: Annotated[
            Size | None, QueryParameter(description="The one of this size; without it, the latest.")
        ] = None,
        cosigned: Annotated[  # noqa: FBT002
            bool,
            QueryParameter(
                description="Without `size`: the newest of those that most witnesses cosigned lately. They are shown"
                " the latest every few seconds, so that on a busy ledger it is seldom cosigned yet."
            ),
        ] = False,
    ) -> str:
        """Read a checkpoint: how many entries the log has and the root of its tree, signed (C2SP tlog-checkpoint), with
        the cosignatures of witnesses.
        """
        keys = services.log_keys
        return await reader(lambda session: _note(LedgerLog(session, ledger, keys), size, cosigned=cosigned))

    @get(
        "/consistency",
        media_type=MediaType.TEXT,
        operation_id=operation_id("get{}ConsistencyProof"),
        responses=responses(CheckpointNotFound),
    )
    async def get_consistency(
        self,
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        old: Annotated[
            Index, QueryParameter(name="from", description="The size of the older checkpoint; 0 is the empty log's.")
        ] = 0,
        new: Annotated[
            Size | None, QueryParameter(name="to", description="The size of the newer one; without it, of the latest.")
        ] = None,
    ) -> str:
        """Prove that the log at one size is the beginning of the log at a larger one: nothing that was in it was
        changed or taken out. Any sizes up to the latest checkpoint's will do.
        """
        return await reader(lambda session: _consistency(LedgerLog(session, ledger), old, new))

    @get(
        "/entries/{entry_id:uuid}/receipt",
        operation_id=operation_id("get{}Receipt"),
        responses=responses(EntryNotFound, NotSealed),
    )
    async def get_receipt(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        entry_id: FromPath[UUID],
    ) -> ReceiptView:
        """Prove that an entry is in the history: its canonical bytes, and a receipt (C2SP tlog-proof) that
        anybody can verify who has the log's verifier key. An entry is sealed within about a second. That of what
        another client was refused needs the scope `audit`.
        """
        keys, seen_by = services.log_keys, request.user.not_applied_of
        found = await reader(lambda session: _receipt(LedgerLog(session, ledger, keys), entry_id, seen_by))
        if found is None:
            raise ProblemError(EntryNotFound(entry_id))
        return found

    @get(
        "/key",
        media_type=MediaType.TEXT,
        operation_id=operation_id("get{}LogKey"),
        responses=responses(LogNotSigned),
    )
    async def get_log_key(self, services: NamedDependency[Services], ledger: NamedDependency[LedgerRef]) -> str:
        """Read the key that verifies the log's checkpoints (C2SP signed-note): keep it from the day on which you first
        trusted it.
        """
        if services.log_signer is None:
            raise ProblemError(LogNotSigned())
        return f"{services.log_signer.verifier_key(ledger.name)}\n"


class InstallationLogController(LogController):
    """The log of the installation's own history; only for a token of all ledgers."""

    path = "/v1/log"
    opt = FOR_ADMINS
    dependencies = OF_INSTALLATION


class LogEntriesController(Controller):
    """The entries of a ledger's log: all of them, because an entry that is left out is no leaf."""

    path = "/v1/ledgers/{ledger_name:str}/log/entries"
    tags = ("Log",)
    opt = FOR_AUDITORS

    @get(
        media_type=MediaType.TEXT,
        operation_id=operation_id("list{}LogEntries"),
        responses=responses(),
    )
    async def list_entries(
        self,
        reader: NamedDependency[Reader],
        ledger: NamedDependency[LedgerRef],
        begin: Annotated[Index, QueryParameter(name="from", description="The index of the first entry, from 0.")] = 0,
        end: Annotated[
            Index | None,
            QueryParameter(
                name="to", description="The index before which the answer ends, at most 1,000 entries later."
            ),
        ] = None,
    ) -> str:
        """Read sealed entries in the order of the log, one a line: each line, without its newline, is an entry's
        canonical bytes, the leaf of that index. The answer has 1,000 lines at most and ends where the log does.
        It has what every client was refused, for which the scope `audit` is needed.
        """
        count = ENTRIES_MAX if end is None else max(0, min(end - begin, ENTRIES_MAX))
        entries = await reader(lambda session: LedgerLog(session, ledger).entries(begin, count))
        return "".join(f"{entry.text}\n" for entry in entries)


class InstallationLogEntriesController(LogEntriesController):
    """The entries of the installation's own log; only for a token of all ledgers."""

    path = "/v1/log/entries"
    opt = FOR_ADMINS
    dependencies = OF_INSTALLATION


@get(
    "/v1/ledgers/{ledger_name:str}/transfers/{transfer_id:uuid}/receipt",
    opt={"scope": "read"},
    operation_id="getTransferReceipt",
    tags=["Log"],
    responses=responses(TransferNotFound, NotSealed),
)
async def get_transfer_receipt(
    services: NamedDependency[Services],
    reader: NamedDependency[Reader],
    ledger: NamedDependency[LedgerRef],
    transfer_id: FromPath[UUID],
) -> ReceiptView:
    """Prove that a transfer is in the ledger's history, as the receipt of its entry does."""
    keys = services.log_keys
    found = await reader(lambda session: _transfer_receipt(session, ledger, keys, transfer_id))
    if found is None:
        raise ProblemError(TransferNotFound(transfer_id))
    return found


@get(
    "/.well-known/funds-log",
    opt={"scope": None},
    operation_id="getLogKeys",
    tags=["Log"],
    responses=responses(LogNotSigned, common=(InternalError,)),
)
async def get_log_keys(services: NamedDependency[Services]) -> LogKeysView:
    """Read the public key that signs the logs of all ledgers, and how the verifier key of each is made of it. No token
    is asked for, so that whoever holds a receipt can find the key; trust it from a time at which nothing is contested.
    """
    if services.log_signer is None:
        raise ProblemError(LogNotSigned())
    key = services.log_signer.verifier_key("")
    return LogKeysView(
        origin=key.name,
        public_key=b64encode(key.public_bytes).decode(),
        verifier_key=str(key),
        ledger_origin=services.log_signer.origin_of("{ledger}"),
    )


async def _note(log: LedgerLog, size: int | None, *, cosigned: bool) -> str:
    found = await log.cosigned() if cosigned and size is None else await log.checkpoint(size)
    if found is None:
        said = "No witness has cosigned a checkpoint of this log yet." if cosigned and size is None else None
        raise ProblemError(CheckpointNotFound(), said)
    return found.note


async def _consistency(log: LedgerLog, old: int, new: int | None) -> str:
    latest = await log.checkpoint()
    if latest is None:
        raise ProblemError(CheckpointNotFound())
    size = latest.checkpoint.size
    new = size if new is None else new
    if not old <= new <= size:
        raise ProblemError(CheckpointNotFound(), f"The log has {size} entries, sealed up to now.")
    return str(ConsistencyProof(old, new, tuple(await log.prove_consistency(old, new))))


async def _receipt(log: LedgerLog, entry_id: UUID, not_applied_of: str | None = None) -> ReceiptView | None:
    """Return the receipt of an entry; None when there is none of that id. Raises ProblemError: it is not sealed yet, or
    tells what another client than ``not_applied_of``, if that is given, was refused.
    """
    proof = await log.prove(entry_id)
    if proof is None:
        return None
    if not_applied_of is not None and _is_withheld(proof.entry, not_applied_of):
        raise ProblemError(Forbidden(AUDIT), f"What another client was refused needs the scope {AUDIT}.")
    if proof.sealed is None:
        raise ProblemError(NotSealed(entry_id))
    receipt = Receipt(proof.sealed.index, tuple(proof.sealed.path), proof.sealed.cosigned.note)
    return ReceiptView(entry=proof.entry.text, receipt=str(receipt))


class _Entry(Struct, frozen=True):
    """Of an entry, what happened and who did it."""

    type: str
    client: str | None


_decode_entry = msgspec.json.Decoder(_Entry).decode
_WITHHELD = frozenset(f"funds.{one}" for one in NOT_APPLIED)


def _is_withheld(document: Document, not_applied_of: str) -> bool:
    entry = _decode_entry(document.text)
    return entry.type in _WITHHELD and entry.client != not_applied_of


async def _transfer_receipt(
    session: Session, ledger: LedgerRef, keys: LogKeys, transfer_id: UUID
) -> ReceiptView | None:
    if not await Repositories(session).transfers.by_ids(ledger.id, [transfer_id]):
        return None
    return await _receipt(LedgerLog(session, ledger, keys), transfer_id)
