"""Histories of callers as files: JSON lines, a call or something that stands in each."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from funds_testing.histories.calls import Call, Ending
from funds_testing.histories.standing import Account, Decision, Hold, Standing, Transfer

_KINDS: dict[str, type[Any]] = {
    "account": Account,
    "transfer": Transfer,
    "hold": Hold,
    "decision": Decision,
}


def write(path: Path, calls: Sequence[Call], standing: Standing) -> None:
    """Write a history and what stands, so that it can be checked again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Call | Account | Transfer | Hold | Decision] = [
        *calls,
        *standing.accounts,
        *standing.transfers,
        *standing.holds,
        *standing.decisions,
    ]
    with path.open("w") as file:
        for one in rows:
            json.dump({type(one).__name__.lower(): asdict(one)}, file, separators=(",", ":"))
            file.write("\n")


def read(path: Path) -> tuple[list[Call], Standing]:
    """Read what ``write`` has written."""
    calls: list[Call] = []
    rows: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    with path.open() as file:
        for line in file:
            [(kind, members)] = json.loads(line).items()
            if kind == "call":
                calls.append(Call(**members | {"ending": Ending(members["ending"])}))
            else:
                rows[kind].append(_KINDS[kind](**members))
    return calls, Standing(rows["account"], rows["transfer"], rows["hold"], rows["decision"])
