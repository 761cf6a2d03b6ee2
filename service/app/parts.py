"""The parts of the service, each made once of those before it."""

from typing import TYPE_CHECKING

from service.access.authenticator import Authenticator, token_look_ups
from service.access.certificates import ClientCertificates
from service.access.usage import ClientLimits
from service.access.uses import TokenUses
from service.api import context
from service.api.readiness import Readiness, looks_at
from service.api.resources.batches import batch_slots
from service.api.resources.statements import file_slots
from service.app import background, gauges
from service.app.gauges import Gauges
from service.app.readers import Readers
from service.audit import watcher as heads
from service.audit.feed import Feed
from service.audit.log_keys import LogKeys
from service.audit.log_signer import LogSigner
from service.audit.watcher import HeadWatcher
from service.posting.committer import Committer
from service.posting.damage import DamagedLedgers
from service.settings import Settings
from service.storage import replica as replicas
from service.storage.pools import Pools
from service.storage.replica import Replica
from service.storage.repositories import Repositories
from service.storage.slots import Slots
from service.storage.transactions import Mode, Transactions
from service.telemetry.requests import RequestTelemetry
from service.workers.sealer import Sealer
from service.workers.verifier import WATCH_INTERVAL_SECONDS, IntegrityWatch

if TYPE_CHECKING:
    from service.access.issuers import Issuer
    from service.access.key_sets import KeySet


def make_services(settings: Settings, requests: RequestTelemetry) -> context.Services:
    """Make the parts of the service; nothing is started. ``requests`` tells of its requests."""
    assert settings.database_url is not None, "checked by create_app"
    pools = Pools.connect(settings.database_url, settings)
    administration = Transactions(pools.administration, settings.commit_limits)
    replica = None if pools.replica is None else Replica(pools.replica.watch, pools.access)
    readers = Readers(settings, pools, replica)
    access, lists = readers.access(), readers.lists()

    damaged = DamagedLedgers(stop=settings.stop_on_damage)
    committer = Committer(
        Transactions(pools.batches, settings.commit_limits),
        settings,
        snapshots=readers.transactions(pools.dry_runs, Mode.SNAPSHOT),
        damaged=damaged,
    )
    watcher = HeadWatcher(readers.look_up_nearest)
    followers = Slots(settings.event_followers_max, share=settings.client_event_followers_max, waiting_max=0)
    token_uses = TokenUses(administration)
    integrity = IntegrityWatch(Transactions(pools.administration, settings.read_limits), damaged)
    log_signer, log_keys = LogSigner.of(settings), LogKeys.of(settings)

    sweeper = background.hold_sweeper(settings, pools, committer)
    verifier = background.ledger_verifier(settings, pools, damaged, log_keys)
    workers = [
        sweeper,
        verifier,
        background.token_use_writer(token_uses),
        background.watch("integrity-watch", integrity.look, WATCH_INTERVAL_SECONDS),
        background.watch("head-watcher", watcher.look, heads.LOOK_INTERVAL_SECONDS),
    ]
    limits, issuer = ClientLimits(settings), background.issuer_keys(settings)
    log, witnesses = None, []
    if log_signer is not None:
        sealer = Sealer(Transactions(pools.sealing, settings.read_limits), log_signer.sign_for, log_keys)
        log = background.log_sealer(settings, sealer), sealer
        witnesses = list(background.log_witnesses(settings, pools))
        workers += [log[0], *(worker for worker, _ in witnesses)]
    if replica is not None:
        workers.append(background.watch("replica-watch", replica.look, replicas.LOOK_INTERVAL_SECONDS))
    if issuer is not None:
        workers.append(issuer[0])
    if settings.metrics:
        looked_at = Gauges(
            requests,
            committer,
            pools,
            integrity,
            log and log[1],
            [witnessing for _, witnessing in witnesses],
            replica,
            issuer and issuer[1],
        )
        workers.append(background.watch("gauges", looked_at.look, gauges.LOOK_INTERVAL_SECONDS))

    return context.Services(
        settings=settings,
        transactions=administration,
        pools=pools,
        replica=replica,
        reader=lists,
        primary_reader=readers.primary(),
        committer=committer,
        feed=Feed(lists, watcher, followers),
        watcher=watcher,
        log_signer=log_signer,
        log_keys=log_keys,
        workers=workers,
        readiness=Readiness(looks_at(pools.access, committer, sweeper, replica, verifier, integrity, log, issuer)),
        ledgers=context.LedgerDirectory(access, settings.path_prefix),
        authenticator=Authenticator(
            token_look_ups(access),
            limits,
            token_uses,
            settings.admin_token,
            issuer=issuer and _issuer(settings, issuer[1], limits),
            certificates=ClientCertificates(proxies) if (proxies := settings.client_certificate_networks) else None,
        ),
        overviews=readers.overviews(),
        damaged=damaged,
        batch_slots=batch_slots(),
        file_slots=file_slots(),
        accounts=readers.rows(lambda session, ledger_id, ids: Repositories(session).accounts.by_ids(ledger_id, ids)),
        transfers=readers.rows(lambda session, ledger_id, ids: Repositories(session).transfers.by_ids(ledger_id, ids)),
        holds=readers.rows(lambda session, ledger_id, ids: Repositories(session).holds.by_ids(ledger_id, ids)),
    )


def _issuer(settings: Settings, keys: "KeySet", limits: ClientLimits) -> "Issuer":
    from service.access.issuers import Issuer, Rules  # noqa: PLC0415 - an extra

    return Issuer(Rules.of(settings), keys, limits)
