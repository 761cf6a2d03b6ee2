"""Batches without a database: execute commands on a batch state, and compare answers and states."""

from copy import deepcopy
from datetime import datetime
from typing import Any

from service.domain.accounts import Account
from service.domain.batch_state import BatchState, Contents
from service.domain.commands import AnyCommand
from service.domain.decisions import CommandAnswer, Fenced
from service.domain.executor import Executor
from service.domain.holds import Hold
from service.domain.identifiers import Identifiers
from service.domain.order import Moment
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.support.domain_samples import EARLIER, NOW, POLICY


class Batch:
    """A batch with the batch state that storage would have loaded: ``accounts``, and ``loaded`` by its field's name.
    ``last_at`` is the ledger's last place.
    """

    def __init__(self, *accounts: Account, last_at: datetime = EARLIER, **loaded: Any) -> None:
        contents: dict[str, Any] = {"decisions": (), "clock": NOW} | loaded
        moment = Moment.after(last_at, NOW, POLICY)
        self.batch_state = BatchState(Contents(accounts=deepcopy(accounts), **contents), moment)
        self.executor = Executor(self.batch_state, Identifiers(moment.place, lambda: 0))

    def execute(self, *group: AnyCommand) -> list[CommandAnswer]:
        """Execute the commands of one group."""
        return self.executor.execute(group)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that storage would write of the batch or that later commands depend on."""
        names = (
            "accounts",
            "holds",
            "reversed_amounts",
            "decisions",
            "new_transfers",
            "new_holds",
            "new_decisions",
            "touched_accounts",
            "touched_holds",
            "touched_transfers",
        )
        return {name: deepcopy(getattr(self.batch_state, name)) for name in names}


def word(answer: CommandAnswer) -> str:
    """Return the answer as ``transfer``, ``fenced``, the status of a hold or the code of a rejection; ``replayed``
    comes before it.
    """
    match answer.result:
        case Transfer():
            said = "transfer"
        case Hold() as hold:
            said = hold.status
        case Rejection() as rejection:
            said = rejection.code
        case Fenced():
            said = "fenced"
    return f"replayed {said}" if answer.replayed else said


def words(answers: list[CommandAnswer]) -> list[str]:
    return [word(answer) for answer in answers]
