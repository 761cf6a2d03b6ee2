"""A ledger as its callers and operators see it: who asks what under which key, and what happens without being asked."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tests.property.asks import Ask, Capture, Fence, Open, Post, Reverse, Unit, Void
from tests.property.facts import Answer, Facts, stored
from tests.property.rules import RefusalError, Rules


class Model:
    """A ledger of accounts by name: currency, normal side, minimum and maximum balance, status, when it was opened."""

    def __init__(self, accounts: dict[str, dict[str, Any]]) -> None:
        self.facts = Facts(accounts).copy()
        self._short: set[str] = set()

    def send(self, units: list[Unit]) -> list[list[Answer]]:
        """Answer units in order. When an overdue hold was in their way, it is freed first and all is answered anew."""
        while True:
            before, self._short = self.facts.copy(), set()
            answers = [self._send_unit(unit) for unit in units]
            in_the_way = self._overdue_of(self._short)
            if not in_the_way:
                return answers
            self.facts = before
            self._expire(in_the_way)

    def _send_unit(self, unit: Unit) -> list[Answer]:
        company = [*map(asdict, unit)] if len(unit) > 1 else None
        group = None
        if company:
            group = self.facts.groups()
        before = self.facts.copy()
        answers: list[Answer] = []
        for ask in unit:
            answers.append(self._answer(ask, company, group))
            if company and answers[-1]["said"] not in {"transfer", "hold", "fenced"}:
                self.facts = before
                return [self._answer_in_bad_company(other, company, ask, answers[-1]) for other in unit]
        return answers

    def _answer_in_bad_company(self, ask: Ask, company: Any, refused: Ask, why: Answer) -> Answer:
        """Nothing of the unit happens. Who has an answer keeps it, all others are refused for the one that was."""
        standing = self._standing(ask, company)
        if standing:
            return standing
        if ask is refused:
            answer = why
        else:
            answer = {"said": "batch_rejected", "refused_idempotency_key": refused.key, "refused_code": why["said"]}
        return self._remember(ask, company, answer | {"replayed": False})

    def _answer(self, ask: Ask, company: Any, group: int | None) -> Answer:
        standing = self._standing(ask, company)
        if standing:
            return standing
        try:
            answer = self._decide(ask, group)
        except RefusalError as refusal:
            answer = refusal.answer
        return self._remember(ask, company, answer | {"replayed": False})

    def _standing(self, ask: Ask, company: Any) -> Answer | None:
        """Return the answer that the key has already, whatever is asked now."""
        if (ask.client, ask.key) not in self.facts.keys:
            return None
        request, answer = self.facts.keys[ask.client, ask.key]
        if isinstance(ask, Fence):
            return {"said": "fenced", "replayed": True}
        if answer["said"] == "fenced":
            return {"said": "key_fenced", "idempotency_key": ask.key, "earlier": "fenced", "replayed": False}
        if request != (type(ask), asdict(ask), company):
            earlier, _ = stored(answer)
            return {"said": "idempotency_key_reused", "idempotency_key": ask.key, "earlier": earlier, "replayed": False}
        return answer | {"replayed": True}

    def _remember(self, ask: Ask, company: Any, answer: Answer) -> Answer:
        self.facts.keys[ask.client, ask.key] = ((type(ask), asdict(ask), company), answer)
        return answer

    def _decide(self, ask: Ask, group: int | None) -> Answer:
        rules = Rules(self.facts, group, self._short)
        match ask:
            case Post():
                return rules.post(ask)
            case Open():
                return rules.open(ask)
            case Capture():
                return rules.capture(ask)
            case Void():
                return rules.void(ask)
            case Reverse():
                return rules.reverse(ask)
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
        """Change bounds or status of an account; return ``revised`` or the code of the refusal. Overdue holds are freed
        when they are in the way.
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
