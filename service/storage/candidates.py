"""Which of the servers that a database URL names is used: the first that is what the URL asks for."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from service.errors import NoServerError, TlsRefusedError
from service.storage.addresses import Address, Candidate
from service.storage.errors import first_line, why_away

_PATIENCE_SECONDS = 0.25

# Errors of a server that is away, or is not what was asked for: another one may be.
_AWAY = (OSError, TargetServerAttributeNotMatched, asyncpg.CannotConnectNowError)

Open = Callable[[Candidate, str | None], Coroutine[Any, Any, asyncpg.Connection]]
"""Connects to one server, if it is what ``target_session_attrs`` says."""


async def first_usable(address: Address, open_one: Open) -> asyncpg.Connection:
    """Return a connection to the first server of ``address`` that is what it asks for.

    They are asked in the order of the URL, as libpq does: whichever comes back later is found again without anything
    that remembers where the primary was. The next one is asked when one has failed, and also when it has not answered
    for _PATIENCE_SECONDS ("Happy Eyeballs", RFC 8305, section 5): a host that has lost its power would otherwise take
    all the time that there is, at every connection.

    Raises NoServerError when none is, or the error of the server that refuses us, or that of the only server.
    """
    if address.target != "prefer-standby":
        return await _race(address.candidates, address.target, open_one)
    try:
        return await _race(address.candidates, "standby", open_one)
    except NoServerError:
        return await _race(address.candidates, "any", open_one)


async def _race(candidates: Sequence[Candidate], target: str | None, open_one: Open) -> asyncpg.Connection:
    waiting = list(candidates)
    openings: dict[asyncio.Task[asyncpg.Connection], Candidate] = {}
    failures: dict[Candidate, BaseException] = {}
    try:
        while waiting or openings:
            if waiting:
                candidate = waiting.pop(0)
                openings[asyncio.create_task(open_one(candidate, target))] = candidate
            done, _ = await asyncio.wait(
                openings, timeout=_PATIENCE_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for opening in [opening for opening in openings if opening in done]:
                candidate, error = openings.pop(opening), opening.exception()
                if error is None:
                    return opening.result()
                failures[candidate] = error
    finally:
        for opening in openings:
            opening.add_done_callback(_discard)
            opening.cancel()
    raise _told({candidate: failures[candidate] for candidate in candidates}, target)


def _discard(opening: asyncio.Task[asyncpg.Connection]) -> None:
    """End the connection of a server that was not needed any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().terminate()


def _told(failures: Mapping[Candidate, BaseException], target: str | None) -> BaseException:
    """Return the error that says most: of a server that refuses us, of the only one, or of them all."""
    for error in failures.values():
        if not isinstance(error, _AWAY) or isinstance(error, TlsRefusedError):
            return error
    [only, *others] = failures.values()
    if not others and not isinstance(only, TargetServerAttributeNotMatched):
        return only
    return NoServerError(
        ", ".join(candidate.location for candidate in failures),
        "; ".join(f"{candidate.location}: {_why(error, target)}" for candidate, error in failures.items()),
    )


def _why(error: BaseException, target: str | None) -> str:
    if isinstance(error, TargetServerAttributeNotMatched):
        return f"is not {target}"
    return why_away(error) if isinstance(error, OSError) else first_line(error)
