"""``funds demo``: fill a ledger with a small bank and some days of its traffic, so that there is something to see."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from random import Random
from uuid import UUID

import click
import msgspec
from msgspec import Struct
from rich.progress import MofNCompleteColumn

from service.audit.overview import read_overview
from service.cli.address import admin_token_expression, service_url
from service.cli.bank import DAYS, Movement, is_card_payment, open_bank, pay_out, payroll_reference, traffic
from service.cli.connection import run_with_database
from service.cli.importing import opening
from service.cli.names import ledger_name
from service.cli.progress import progress_bar
from service.domain.commands import PostTransfer
from service.domain.decisions import Key
from service.domain.fingerprints import request_fingerprint
from service.domain.ledgers import NO_LEDGER, StoredLedger
from service.domain.overview import Overview
from service.domain.rejections import Rejection
from service.posting.accounts import create_ledger
from service.posting.committer import Committer
from service.posting.openings import open_accounts
from service.settings import Settings
from service.storage.database import Database
from service.storage.repositories import Repositories
from service.storage.transactions import Mode, Reader, Transactions
from service.wire.accounts import AccountRequest
from service.wire.ledgers import LedgerRequest

CLIENT = "demo"
"""The client under which the decisions of the demonstration stand."""

_SEED_DEFAULT = 1
_TOKEN_VARIABLE = "$TOKEN"  # noqa: S105 - its name


class Demonstration(Struct):
    """What was made."""

    accounts: int
    first_day: datetime
    posted: int = 0
    rejected: Counter[str] = msgspec.field(default_factory=Counter)


@click.command()
@click.option(
    "--ledger",
    default="demo",
    show_default=True,
    callback=ledger_name,
    help="The ledger to fill; created if it is missing.",
)
@click.option("--seed", type=int, default=_SEED_DEFAULT, show_default=True, help="The same seed makes the same bank.")
@click.option("--more", is_flag=True, help="Add to a ledger that already has transfers.")
def demo(ledger: str, seed: int, *, more: bool) -> None:
    """Fill a ledger with a small bank and two weeks of traffic.

    Cash, fees, card settlement, 50 customers in USD, EUR and JPY: salaries, rents, card payments, fees, and payments
    that are rejected for lack of funds; a few thousand transfers, posted as the service posts them. It prints what to
    look at.
    """
    settings = Settings.from_environment()
    wanted = LedgerRequest(name=ledger, description="A small bank, made up.")

    async def work(database: Database) -> tuple[Demonstration, Overview]:
        reader = Reader(Transactions(database, settings.read_limits, Mode.SNAPSHOT))
        transactions = Transactions(database, settings.commit_limits)
        found = await _find_or_create(transactions, settings, wanted)
        before = await reader(lambda session: read_overview(session, found.id))
        if before.transfer_count and not more:
            or_more = "" if before.transfer_count_complete else " or more"
            raise click.ClickException(
                f"The ledger {ledger!r} already has {before.transfer_count:,}{or_more} transfers: --more adds to them,"
                " --ledger NAME fills another one."
            )
        # What tells the keys of this filling from those of others: no two come after the same transfer.
        latest = next((str(transfer.id) for transfer in before.latest_transfers), "first")
        made = await _fill(transactions, settings, found, Random(seed), key_prefix=f"{seed}-{latest}")  # noqa: S311 - no secret
        return made, await reader(lambda session: read_overview(session, found.id))

    made, overview = run_with_database(settings, work)
    _show(settings, ledger, made, overview)


async def _find_or_create(transactions: Transactions, settings: Settings, wanted: LedgerRequest) -> StoredLedger:
    found = await transactions.run(lambda session: Repositories(session).ledgers.by_name(wanted.name))
    if found is not None:
        return found
    key = Key(
        ledger_id=NO_LEDGER,
        client_id=CLIENT,
        idempotency_key=f"ledger-{wanted.name}",
        fingerprint=request_fingerprint("create_ledger", wanted),
        operation="create_ledger",
    )
    created = await create_ledger(transactions, settings, key, name=wanted.name, description=wanted.description)
    if isinstance(created.result, Rejection):
        raise click.ClickException(created.result.detail)
    return await _find_or_create(transactions, settings, wanted)


async def _fill(
    transactions: Transactions, settings: Settings, ledger: StoredLedger, random: Random, *, key_prefix: str
) -> Demonstration:
    """Open the bank (what is there already stays) and post its days, which end yesterday."""
    requests, customers = open_bank(random)
    today = datetime.combine(datetime.now(UTC), time(), tzinfo=UTC)
    first_day = today - timedelta(days=DAYS)
    account_ids = await _open(transactions, settings, ledger, requests, opened_at=first_day)
    made = Demonstration(accounts=len(account_ids), first_day=first_day)
    committer = Committer(transactions, settings)
    poster = _Poster(committer, ledger, account_ids, settings.batch_commands_max, key_prefix, made)
    await committer.start()
    try:
        with progress_bar(MofNCompleteColumn(), "days") as progress:
            for number in progress.track(range(DAYS), description="Making a bank"):
                day = made.first_day + timedelta(days=number)
                applied = await poster.post(traffic(random, customers, number, day))
                owed: Counter[str] = Counter()
                for movement in applied:
                    if is_card_payment(movement):
                        owed[movement.currency] += movement.amount
                await poster.post([pay_out(currency, amount, day) for currency, amount in owed.items()])
    finally:
        await committer.stop()
    return made


async def _open(
    transactions: Transactions,
    settings: Settings,
    ledger: StoredLedger,
    requests: Sequence[AccountRequest],
    *,
    opened_at: datetime,
) -> dict[str, UUID]:
    """Open the accounts, in one page, as if on ``opened_at``, and return their ids by reference."""
    page = [opening(ledger, CLIENT, request) for request in requests]
    account_ids: dict[str, UUID] = {}
    for request, answer in zip(
        requests, await open_accounts(transactions, settings, page, opened_at=opened_at), strict=True
    ):
        if isinstance(answer.result, Rejection):
            raise click.ClickException(
                f"The ledger {ledger.name!r} has accounts of another kind or seed ({answer.result.detail})"
                " --ledger NAME fills another one."
            )
        account_ids[request.reference or ""] = answer.result.id
    return account_ids


class _Poster:
    """Posts movements through the committer, in order, in submissions of at most ``commands_max`` transfers."""

    def __init__(
        self,
        committer: Committer,
        ledger: StoredLedger,
        account_ids: Mapping[str, UUID],
        commands_max: int,
        key_prefix: str,
        made: Demonstration,
    ) -> None:
        self._committer = committer
        self._ledger = ledger
        self._account_ids = account_ids
        self._commands_max = commands_max
        self._key_prefix = key_prefix
        self._made = made

    async def post(self, movements: Sequence[Movement]) -> list[Movement]:
        """Return those of ``movements`` that were applied; the others are counted by the reason."""
        applied = []
        for start in range(0, len(movements), self._commands_max):
            part = movements[start : start + self._commands_max]
            first = self._made.posted + self._made.rejected.total()
            groups = [[self._command(movement, first + place)] for place, movement in enumerate(part)]
            answers = await self._committer.submit(self._ledger.id, groups)
            for movement, [answer] in zip(part, answers, strict=True):
                if isinstance(answer.result, Rejection):
                    self._made.rejected[answer.result.code] += 1
                else:
                    self._made.posted += 1
                    applied.append(movement)
        return applied

    def _command(self, movement: Movement, number: int) -> PostTransfer:
        return PostTransfer(
            ledger_id=self._ledger.id,
            client_id=CLIENT,
            idempotency_key=f"transfer-{self._key_prefix}-{number}",
            debit_account_id=self._account_ids[movement.debit],
            credit_account_id=self._account_ids[movement.credit],
            amount=movement.amount,
            currency=movement.currency,
            reference=movement.reference,
            description=movement.description,
            effective_at=movement.effective_at,
        )


def _show(settings: Settings, ledger: str, made: Demonstration, overview: Overview) -> None:
    currencies = ", ".join(total.currency for total in overview.totals or ())
    reasons = ", ".join(f"{code} {count}" for code, count in made.rejected.most_common())
    click.echo(
        f"Ledger {ledger!r}: {made.accounts} accounts ({currencies}), {made.posted:,} transfers over {DAYS} days,"
        f" {made.rejected.total():,} payments refused{f' ({reasons})' if reasons else ''}.\n\n"
        "Look at it while the service runs:\n"
    )
    bearer = admin_token_expression(settings) or _TOKEN_VARIABLE
    if bearer == _TOKEN_VARIABLE:
        click.echo("  TOKEN=$(funds tokens create --client me --scope read)")
    busiest = overview.busiest_accounts[0].id
    for path in (
        "overview",
        f"accounts/{busiest}?expand=transfers",
        "accounts?reference=customer-001",
        f"transfers?reference={payroll_reference(made.first_day)}&limit=5",
    ):
        click.echo(f'  curl -H "Authorization: Bearer {bearer}" "{service_url(settings)}/v1/ledgers/{ledger}/{path}"')
