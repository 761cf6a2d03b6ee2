"""Books on the desk: their commands executed, their answers in a word, their whole state to compare."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any
from uuid import UUID

from service.domain.accounts import Account
from service.domain.book import Answer, Book, Contents, Fenced
from service.domain.commands import AnyCommand
from service.domain.holds import Hold
from service.domain.rejections import Rejection
from service.domain.transfers import Transfer
from tests.domain.samples import NOW, POLICY


def identifiers() -> Iterator[UUID]:
    """Yield identifiers that rise."""
    return (UUID(int=number) for number in range(0x1000, 0x10000))


class Desk:
    """A book of ``accounts`` and whatever else storage would have loaded."""

    def __init__(self, *accounts: Account, **loaded: Any) -> None:
        contents: dict[str, Any] = {"decisions": (), "clock": NOW} | loaded
        self.book = Book(Contents(accounts=deepcopy(accounts), **contents), POLICY)
        self.new_ids = identifiers()

    def do(self, *unit: AnyCommand) -> list[Answer]:
        """Execute the commands of one unit."""
        return self.book.execute(unit, self.new_ids)

    def state(self) -> dict[str, Any]:
        """Everything that storage would read of the book, and what later commands depend on."""
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
        return {name: deepcopy(getattr(self.book, name)) for name in names}


def word(answer: Answer) -> str:
    """Return the answer as ``transfer``, ``fenced``, the status of a hold or the code of a rejection; ``replayed``
    comes before it.
    """
    match answer.outcome:
        case Transfer():
            said = "transfer"
        case Hold() as hold:
            said = hold.status
        case Rejection() as rejection:
            said = rejection.code
        case Fenced():
            said = "fenced"
    return f"replayed {said}" if answer.replayed else said


def words(answers: list[Answer]) -> list[str]:
    return [word(answer) for answer in answers]
