"""Entries of a history, in a few words each."""

from typing import Any

import msgspec

from service.console.formats import money, number
from service.wire.events import Event

_AMOUNTS = frozenset({"minimum_balance", "maximum_balance"})


def kind(event: Event) -> str:
    """Return what happened: transfer.posted."""
    return str(event.__struct_config__.tag).removeprefix("funds.")


def told(event: Any, currency: str = "") -> str:
    """Return what ``event`` did, for a table; amounts of an account are in ``currency``, where that is known."""
    data: dict[str, Any] = msgspec.to_builtins(event.data)
    match kind(event).split("."):
        case ["account", "revised"]:
            text = "; ".join(
                f"{_name(name)}: {_value(name, data['before'].get(name), currency)} → {_value(name, after, currency)}"
                for name, after in data["after"].items()
            )
        case ["account", "opened"]:
            text = f"{data['name'] or data['reference'] or 'No name'}, {data['currency']}, {data['normal_side']} side"
        case ["transfer", "posted"] | ["hold", "opened"]:
            text = _words([f"{money(data['amount'], data['currency'])} {data['currency']}", data["description"]])
        case ["hold", _]:
            captured, released = number(data["captured_amount"]), number(data["released_amount"])
            text = f"{captured} captured, {released} released, in minor units"
        case ["command", "rejected"]:
            text = f"{_name(data['operation'])}: {_name(data['problem']['code']).lower()}"
        case ["token", _]:
            text = _words([data["client"], ", ".join(data.get("scopes", ())), data["by"] and f"by {data['by']}"])
        case ["ledger", "created"]:
            text = data["name"]
        case ["period", _]:
            text = _words([f"until {data['closed_until'] or 'none'}", data["reason"]])
        case ["key", "fenced"]:
            text = str(event.idempotencykey)
        case _:
            text = "Of another client; the scope audit shows it"
    return text


def _name(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _value(name: str, value: Any, currency: str) -> str:
    if value is None:
        return "none"
    if name in _AMOUNTS and currency:
        return money(value, currency)
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in sorted(value.items())) or "none"
    return str(value)


def _words(parts: list[str | None]) -> str:
    return " · ".join(part for part in parts if part)
