"""The routes that are served."""

from litestar.types import ControllerRouterHandler

from service.api.http import problems
from service.api.openapi import documentation
from service.api.resources import health
from service.api.resources.accounts import AccountController
from service.api.resources.balances import get_balance, query_balances
from service.api.resources.batches import post_batch
from service.api.resources.changes import list_account_changes, list_changes
from service.api.resources.closings import ClosingController
from service.api.resources.codes import list_codes
from service.api.resources.decisions import list_decisions
from service.api.resources.events import EventController, InstallationEventController
from service.api.resources.history import list_account_history
from service.api.resources.holds import HoldController
from service.api.resources.integrity import InstallationIntegrityController, IntegrityController
from service.api.resources.keys import IdempotencyKeyController
from service.api.resources.ledgers import LedgerController
from service.api.resources.log import (
    InstallationLogController,
    InstallationLogEntriesController,
    LogController,
    LogEntriesController,
    get_log_keys,
    get_transfer_receipt,
)
from service.api.resources.overview import get_overview
from service.api.resources.statements import get_statement
from service.api.resources.transfers import TransferController
from service.api.resources.trial_balances import get_balances_by_code, get_trial_balance
from service.console.routes import console_router


def routes(*, console: bool) -> list[ControllerRouterHandler]:
    """Return every route, for one application; with those of the ``console``, where it is served."""
    return [
        LedgerController,
        AccountController,
        TransferController,
        HoldController,
        IdempotencyKeyController,
        post_batch,
        get_balance,
        query_balances,
        get_statement,
        list_changes,
        list_account_changes,
        ClosingController,
        get_trial_balance,
        get_balances_by_code,
        list_codes,
        list_account_history,
        list_decisions,
        get_overview,
        IntegrityController,
        InstallationIntegrityController,
        EventController,
        InstallationEventController,
        LogController,
        InstallationLogController,
        LogEntriesController,
        InstallationLogEntriesController,
        get_transfer_receipt,
        get_log_keys,
        health.HealthController,
        problems.explain_problem,
        documentation.get_openapi,
        *documentation.assets_routers(),
        *([console_router()] if console else []),
    ]
