"""Whether a ledger is sound."""

from typing import Any

from litestar import Controller, Request, get
from litestar.di import NamedDependency

from service.access.principal import Principal
from service.api.context import LedgerRef, Services, reader_for
from service.api.http.problems import responses
from service.api.resources.installation import FOR_ADMINS, FOR_READERS, OF_INSTALLATION, operation_id
from service.audit.integrity import look_at_integrity
from service.domain.integrity import Pass
from service.wire.integrity import Finding, IntegrityView, PassView


class IntegrityController(Controller):
    """Whether a ledger is sound."""

    path = "/v1/ledgers/{ledger_name:str}/integrity"
    tags = ("Ledgers",)
    opt = FOR_READERS

    @get(operation_id=operation_id("get{}Integrity"), responses=responses())
    async def get_integrity(
        self,
        request: Request[Principal, Any, Any],
        services: NamedDependency[Services],
        ledger: NamedDependency[LedgerRef],
    ) -> IntegrityView:
        """Tell whether the ledger is sound: what the verifier found, which asks every rule of every row over and over,
        and what the newest rows show now. What it costs does not grow with the ledger; `funds verify` looks at all of
        it. Of the installation, its ledgers and tokens are looked at.
        """
        reader = reader_for(request.scope, services.overviews)
        seen = await reader(lambda session: look_at_integrity(session, ledger.id))
        known = seen.verification
        findings = [Finding(rule=one.rule, table=one.table, id=one.id, wrong=one.wrong) for one in seen.findings]
        return IntegrityView(
            ledger=ledger.name or None,
            sound=False if findings or seen.money_conserved is False else None if known.complete is None else True,
            as_of=seen.as_of,
            complete=None if known.complete is None else _pass(known.complete),
            running=None if known.running is None else _pass(known.running),
            findings=findings,
            looked_at_now=seen.row_count,
            money_conserved=seen.money_conserved,
        )


class InstallationIntegrityController(IntegrityController):
    """Whether the installation's ledgers and tokens are what its history says; only for a token of all ledgers."""

    path = "/v1/integrity"
    opt = FOR_ADMINS
    dependencies = OF_INSTALLATION


def _pass(made: Pass) -> PassView:
    return PassView(
        started_at=made.started_at,
        ended_at=made.ended_at,
        row_count=made.row_count,
        entry_count=made.entry_count,
        finding_count=made.finding_count,
        unasked_rules=made.unasked,
        unknown_witnesses=made.unknown_witnesses,
    )
