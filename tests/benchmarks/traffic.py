"""What is sent: accounts, the workloads that choose among them, and requests as finished bytes."""

import itertools
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Workload = Literal["uniform", "zipfian", "hot"]
Audit = Literal[
    "balance now", "past balance", "past balance by value date", "statement page", "statement page by value date",
    "trial balance", "search",
]  # fmt: skip
"""What auditors ask."""
WORKLOADS: tuple[Workload, ...] = get_args(Workload)

ACCOUNTS = 10_000
FIRST_ACCOUNT = 100_000_000_000
ACCOUNT_ID = "00000000-0000-7000-8000-{}"
"""Account number n has the id that ends in FIRST_ACCOUNT + n; pgbench, which has no uuids, can write it too."""
ZIPF_EXPONENT = 1.1
CURRENCY = "USD"
STATED = 20
"""Lines of a page of a statement: in a ledger that is called empty, an account has thirty or so by then."""
LISTED = 100
"""What other pages of auditors hold."""

DATED_APART = 100
"""Every so many transfers has a value date of its own, tomorrow, where requests are ``dated``."""

LEDGERS = 8
"""How many ledgers requests take turns at, where there is more than ``main``: each has accounts of the same ids."""

_CHOICES = 50_000
_PATH = "/v1/ledgers/main"


def account_id(number: int) -> str:
    """Return the id of account ``number``, from 0."""
    return ACCOUNT_ID.format(FIRST_ACCOUNT + number)


def pairs(workload: Workload) -> list[tuple[int, int]]:
    """Return many (debit, credit) account numbers: ``uniform``; ``zipfian`` on both sides (weight 1/rank^1.1);
    ``hot``, where every credit goes to account 0.
    """
    dice = random.Random(workload)
    everyone = range(ACCOUNTS)
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, ACCOUNTS + 1)] if workload == "zipfian" else None
    debits = dice.choices(everyone, weights, k=_CHOICES)
    credits_ = [0] * _CHOICES if workload == "hot" else dice.choices(everyone, weights, k=_CHOICES)
    return [
        ((debit + 1) % ACCOUNTS, credit) if debit == credit else (debit, credit)
        for debit, credit in zip(debits, credits_, strict=True)
    ]


def ledger_name(number: int) -> str:
    """Return the name of ledger ``number`` of LEDGERS, from 1."""
    return f"ledger-{number}"


def single_requests(workload: Workload, token: str, ledgers: int = 1) -> Iterator[bytes]:
    """Yield POSTs of one transfer each, every one under a new random key; to ``main``, or to ``ledgers`` in turn."""
    return _keyed_requests("transfers", _transfers(workload), token, ledgers)


def rejected_requests(workload: Workload, token: str) -> Iterator[bytes]:
    """Yield POSTs of one transfer each that no account has the money for, every one under a new random key."""
    return _keyed_requests("transfers", _transfers(workload, amount_digits=12), token)


def hold_requests(workload: Workload, token: str, *, seconds: int) -> Iterator[bytes]:
    """Yield POSTs of one hold each that expires in ``seconds``, every one under a new random key."""
    expiring = [fields + f',"expires_in_seconds":{seconds}'.encode() for fields in _transfers(workload)]
    return _keyed_requests("holds", expiring, token)


def _keyed_requests(resource: str, members: Sequence[bytes], token: str, ledgers: int = 1) -> Iterator[bytes]:
    bodies = [b"{" + fields + b"}" for fields in members]
    assert len({len(body) for body in bodies}) == 1, "one length for all"
    heads = [
        _head("POST", f"{path}/{resource}", token, len(bodies[0]), "Idempotency-Key: %032x").encode()
        for path in _paths(ledgers)
    ]
    bits = random.getrandbits
    for head, body in zip(itertools.cycle(heads), itertools.cycle(bodies)):
        yield head % bits(128) + body


def batch_requests(
    workload: Workload, token: str, items: int, ledgers: int = 1, *, dated: bool = False
) -> Iterator[bytes]:
    """Yield POSTs of ``items`` transfers each, every one under a new random key; to ``main``, or to ``ledgers`` in
    turn. Of ``dated`` ones, one in DATED_APART has a value date of its own.
    """
    members = _transfers(workload)
    if dated:
        tomorrow = _time(datetime.now(UTC) + timedelta(days=1)).encode()
        members[::DATED_APART] = [b'%b,"effective_at":"%b"' % (one, tomorrow) for one in members[::DATED_APART]]
    transfers = itertools.cycle([b'{"idempotency_key":"%032x",' + fields + b"}" for fields in members])
    bits = random.getrandbits
    for path in itertools.cycle(_paths(ledgers)):
        body = b",".join([transfer % bits(128) for transfer in itertools.islice(transfers, items)])
        body = b'{"transfers":[' + body + b"]}"
        yield _head("POST", f"{path}/transfers/batch", token, len(body)).encode() + body


def get_requests(paths: Sequence[str], token: str) -> Iterator[bytes]:
    """Yield GETs of ``paths`` in turn; a path is relative to the ledger."""
    return itertools.cycle([_head("GET", f"{_PATH}{path}", token).encode() for path in paths])


def audits(begin: datetime, end: datetime) -> dict[Audit, list[str]]:
    """Return the paths of what an auditor asks, of every account, of a ledger whose transfers were recorded between
    ``begin`` and ``end``. What is past is as of half of that time; a period is its second half.
    """
    middle = _time(begin + (end - begin) / 2)
    period = f"from={middle}&to={_time(end)}&limit={STATED}"
    accounts = [account_id(number) for number in range(ACCOUNTS)]
    of_each: dict[Audit, str] = {
        "balance now": "/accounts/{}/balance",
        "past balance": f"/accounts/{{}}/balance?known_at={middle}",
        "past balance by value date": f"/accounts/{{}}/balance?as_of={middle}",
        "statement page": f"/accounts/{{}}/statement?{period}",
        "statement page by value date": f"/accounts/{{}}/statement?axis=value&{period}",
        "search": f"/transfers?account_id={{}}&amount_min=90&effective_to={middle}&limit={LISTED}",
    }
    paths = {family: [path.format(account) for account in accounts] for family, path in of_each.items()}
    return {**paths, "trial balance": [f"/trial-balance?as_of={middle}&limit={LISTED}"]}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _paths(ledgers: int) -> list[str]:
    return [_PATH] if ledgers == 1 else [f"/v1/ledgers/{ledger_name(number)}" for number in range(1, ledgers + 1)]


def _transfers(workload: Workload, amount_digits: int = 2) -> list[bytes]:
    """Return the members of the JSON objects that ask for transfers, with amounts of so many digits."""
    smallest = 10 ** (amount_digits - 1)
    dice = random.Random(workload)
    return [
        f'"debit_account_id":"{account_id(debit)}","credit_account_id":"{account_id(credit)}",'
        f'"amount":{dice.randint(smallest, 10 * smallest - 1)},"currency":"{CURRENCY}"'.encode()
        for debit, credit in pairs(workload)
    ]


def _head(method: str, path: str, token: str, length: int | None = None, *more: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", *more]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""])
