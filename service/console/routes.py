"""The routes of the console: every screen is named here once."""

from litestar import Router
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from service.console.pages import get_asset
from service.console.screens import (
    accounts,
    actions,
    declined,
    find,
    history,
    holds,
    integrity,
    ledgers,
    sign_in,
    tokens,
    transfers,
    trial_balance,
)
from service.console.visits import EXCEPTION_HANDLERS, provide_visit

SCREENS: list[ControllerRouterHandler] = [
    sign_in.show_sign_in,
    sign_in.sign_in,
    sign_in.show_link,
    sign_in.use_link,
    sign_in.sign_out,
    ledgers.show_ledgers,
    ledgers.show_ledger,
    find.find,
    accounts.show_accounts,
    accounts.show_account,
    accounts.get_statement_file,
    transfers.show_transfers,
    transfers.show_transfer,
    transfers.get_receipt_file,
    holds.show_holds,
    holds.show_hold,
    declined.show_declined,
    trial_balance.show_trial_balance,
    trial_balance.get_trial_balance_file,
    history.show_history,
    integrity.show_integrity,
    tokens.show_tokens,
    actions.ask_change,
    actions.change_account,
    actions.ask_void,
    actions.void_hold,
    actions.ask_reversal,
    actions.reverse_transfer,
]


def console_router() -> Router:
    """Return the console below ``/console``: no part of the API's document, and open to the router, because each screen
    asks for a session (``provide_visit``).
    """
    return Router(
        "/console",
        route_handlers=[get_asset, *SCREENS],
        dependencies={"visit": Provide(provide_visit)},
        exception_handlers=EXCEPTION_HANDLERS,
        opt={"scope": None},
        include_in_schema=False,
    )
