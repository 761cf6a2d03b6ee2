"""What is sent: accounts, the workloads that choose among them, and requests as finished bytes."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

Workload = Literal["uniform", "zipfian", "hot"]
WORKLOADS: tuple[Workload, ...] = get_args(Workload)

ACCOUNTS = 10_000
FIRST_ACCOUNT = 100_000_000_000
ACCOUNT_ID = "00000000-0000-7000-8000-{}"
"""Account number n has the id that ends in FIRST_ACCOUNT + n; pgbench, which has no uuids, can write it too."""
ZIPF_EXPONENT = 1.1
CURRENCY = "USD"

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


def single_requests(workload: Workload, token: str) -> Iterator[bytes]:
    """Yield POSTs of one transfer each, every one under a new random key."""
    bodies = [b"{" + fields + b"}" for fields in _transfers(workload)]
    assert len({len(body) for body in bodies}) == 1, "one length for all"
    head = _head("POST", f"{_PATH}/transfers", token, len(bodies[0]), "Idempotency-Key: %032x").encode()
    bits = random.getrandbits
    for body in itertools.cycle(bodies):
        yield head % bits(128) + body


def batch_requests(workload: Workload, token: str, items: int) -> Iterator[bytes]:
    """Yield POSTs of ``items`` transfers each, every one under a new random key."""
    transfers = itertools.cycle([b'{"idempotency_key":"%032x",' + fields + b"}" for fields in _transfers(workload)])
    bits = random.getrandbits
    while True:
        body = b",".join([transfer % bits(128) for transfer in itertools.islice(transfers, items)])
        body = b'{"transfers":[' + body + b"]}"
        yield _head("POST", f"{_PATH}/transfers/batch", token, len(body)).encode() + body


def get_requests(paths: Sequence[str], token: str) -> Iterator[bytes]:
    """Yield GETs of ``paths`` in turn; a path is relative to the ledger."""
    return itertools.cycle([_head("GET", f"{_PATH}{path}", token).encode() for path in paths])


def _transfers(workload: Workload) -> list[bytes]:
    """Return the members of the JSON objects that ask for transfers; amounts have two digits."""
    dice = random.Random(workload)
    return [
        f'"debit_account_id":"{account_id(debit)}","credit_account_id":"{account_id(credit)}",'
        f'"amount":{dice.randint(10, 99)},"currency":"{CURRENCY}"'.encode()
        for debit, credit in pairs(workload)
    ]


def _head(method: str, path: str, token: str, length: int | None = None, *more: str) -> str:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {token}", *more]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, "", ""])
