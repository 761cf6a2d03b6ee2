"""A model of a ledger as callers and operators see it: requests under keys, and what happens without a request."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tests.property.facts import Answer, Facts, stored
from tests.property.requests import Capture, Fence, Group, Open, Post, Request, Reverse, Void
from tests.property.rules import RejectedError, Rules


class Model:
    """A ledger of accounts by name: currency, normal side, minimum and maximum balance, status, when it was opened."""

    def __init__(self, accounts: dict[str, dict[str, Any]]) -> None:
        self.facts = Facts(accounts).copy()
        self._short: set[str] = set()

    def send(self, groups: list[Group]) -> list[list[Answer]]:
        """Answer groups in order. When an overdue hold was in the way, free it and answer all groups again."""
        while True:
            before, self._short = self.facts.copy(), set()
            answers = [self._send_group(group) for group in groups]
            in_the_way = self._overdue_of(self._short)
            if not in_the_way:
                return answers
            self.facts = before
            self._expire(in_the_way)

    def _send_group(self, group: Group) -> list[Answer]:
        members = [*map(asdict, group)] if len(group) > 1 else None
        number = None
        if members:
            number = self.facts.groups()
        before = self.facts.copy()
        answers: list[Answer] = []
        for request in group:
            answers.append(self._answer(request, members, number))
            if members and answers[-1]["said"] not in {"transfer", "hold", "fenced"}:
                self.facts = before
                return [self._answer_in_failed_group(other, members, request, answers[-1]) for other in group]
        return answers

    def _answer_in_failed_group(self, request: Request, members: Any, rejected: Request, why: Answer) -> Answer:
        """Answer a request of a group that is not applied: with the answer that its key has already, or with the
        rejection of the whole group because of ``rejected``.
        """
        standing = self._standing(request, members)
        if standing:
            return standing
        if request is rejected:
            answer = why
        else:
            answer = {"said": "batch_rejected", "refused_idempotency_key": rejected.key, "refused_code": why["said"]}
        return self._remember(request, members, answer | {"replayed": False})

    def _answer(self, request: Request, members: Any, group: int | None) -> Answer:
        standing = self._standing(request, members)
        if standing:
            return standing
        try:
            answer = self._decide(request, group)
        except RejectedError as rejection:
            answer = rejection.answer
        return self._remember(request, members, answer | {"replayed": False})

    def _standing(self, request: Request, members: Any) -> Answer | None:
        """Return the answer that the key has already, whatever this request is."""
        if (request.client, request.key) not in self.facts.keys:
            return None
        known, answer = self.facts.keys[request.client, request.key]
        if isinstance(request, Fence):
            return {"said": "fenced", "replayed": True}
        if answer["said"] == "fenced":
            return {"said": "key_fenced", "idempotency_key": request.key, "earlier": "fenced", "replayed": False}
        if known != (type(request), asdict(request), members):
            earlier, _ = stored(answer)
            return {
                "said": "idempotency_key_reused",
                "idempotency_key": request.key,
                "earlier": earlier,
                "replayed": False,
            }
        return answer | {"replayed": True}

    def _remember(self, request: Request, members: Any, answer: Answer) -> Answer:
        self.facts.keys[request.client, request.key] = ((type(request), asdict(request), members), answer)
        return answer

    def _decide(self, request: Request, group: int | None) -> Answer:
        rules = Rules(self.facts, group, self._short)
        match request:
            case Post():
                return rules.post(request)
            case Open():
                return rules.open(request)
            case Capture():
                return rules.capture(request)
            case Void():
                return rules.void(request)
            case Reverse():
                return rules.reverse(request)
        return {"said": "fenced"}

    # What happens without being asked, and what operators do.

    def time_is_over(self, hold: int) -> None:
        """Let an open hold be past its time."""
        self.facts.overdue.append(hold)

    def sweep(self) -> None:
        """Free what overdue holds reserve, those first that were overdue first."""
        self._expire(self._overdue_of(set(self.facts.accounts)))

    def _overdue_of(self, names: set[str]) -> list[int]:
        """Return the holds of accounts that are past their time and not freed yet, those first that were so first."""
        holds = self.facts.holds
        return [
            number
            for number in self.facts.overdue
            if holds[number]["status"] == "open" and {holds[number]["debit"], holds[number]["credit"]} & names
        ]

    def _expire(self, numbers: list[int]) -> None:
        for number in numbers:
            hold = self.facts.holds[number]
            self.facts.changes.append((hold["debit"], hold["credit"]))
            self.facts.close(hold, "expired")

    def revise(self, name: str, changes: dict[str, Any]) -> str:
        """Change bounds or status of an account; return ``revised`` or the code of the rejection. Overdue holds are
        freed when they are in the way.
        """
        said = self._revise(name, changes)
        if said in {"account_not_empty", "insufficient_funds"} and self.facts.holds_count_for(name, said):
            self._expire(self._overdue_of({name}))
            said = self._revise(name, changes)
        return said

    def _revise(self, name: str, changes: dict[str, Any]) -> str:
        account = self.facts.accounts[name]
        minimum, maximum = ({**account, **changes}[bound] for bound in ("minimum_balance", "maximum_balance"))
        empty = self.facts.balance(name) == self.facts.debits_held(name) == self.facts.credits_held(name) == 0
        rules: list[tuple[str, Callable[[], bool]]] = [
            ("account_closed", lambda: account["status"] == "closed"),
            ("account_not_empty", lambda: changes.get("status") == "closed" and not empty),
            ("balance_limit_exceeded", lambda: minimum is not None and maximum is not None and minimum > maximum),
            ("insufficient_funds", lambda: minimum is not None and minimum > self.facts.available(name)),
            ("balance_limit_exceeded", lambda: maximum is not None and maximum < self.facts.balance(name)),
        ]
        for code, broken in rules:
            if broken():
                return code
        account |= changes
        return "revised"
