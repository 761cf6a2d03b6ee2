"""Named queries on the chart of accounts: which codes there are."""

from typing import NamedTuple

from sqlalchemy import Integer, bindparam, text

from service.domain import codes
from service.storage.database import Session
from service.storage.lists import Slices, slices
from service.storage.rows import SCHEMA

_BEHIND_ALL = "{"
"""A code consists of letters, digits, ``.``, ``_``, ``-`` and the separator: in the order of bytes, this is behind."""


class ChartCode(NamedTuple):
    """A code of the chart: whether accounts have just this one, and whether codes go on behind it."""

    code: str
    has_accounts: bool
    goes_on: bool


class CodeRepository:
    """Reads codes on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def page(
        self, ledger_id: int, group: str | None, *, limit: int, after: tuple[str, bool] | None
    ) -> Slices[ChartCode]:
        """Yield, in slices, up to ``limit`` codes that stand for accounts of the ledger and are one segment longer than
        ``group``, of one segment for None: after the one of ``after``, given with whether accounts have just it.

        They come in the order of the first code of an account that each stands for. The index is not read but searched,
        for the code behind all that the last one stands for: twice for each, because others lie between a code and
        those behind it, such as ``1000-1``.
        """
        first, end = "", _BEHIND_ALL
        if group is not None:
            first, end = group + codes.SEPARATOR, group + codes.BEHIND_SEPARATOR
        place = first
        if after is not None:
            place = max(first, after[0] if after[1] else after[0] + codes.BEHIND_SEPARATOR)
        parameters = {
            "ledger_id": ledger_id,
            "after": place,
            "end": end,
            "segments": first.count(codes.SEPARATOR) + 1,
            "limit": limit,
        }
        async for rows in slices(self._session, _PAGE, parameters):
            yield [ChartCode(*row) for row in rows]


_BETWEEN, _BEHIND = codes.SEPARATOR, codes.BEHIND_SEPARATOR
_ACCOUNTS = f"{SCHEMA}.accounts WHERE ledger_id = :ledger_id"
_PAGE = text(
    f"""
    WITH RECURSIVE walk (code, found, place) AS (
        SELECT NULL::text COLLATE "C", NULL::text COLLATE "C", CAST(:after AS text) COLLATE "C"
        UNION ALL
        SELECT cut.code, following.code,
               CASE WHEN cut.code = following.code THEN cut.code ELSE cut.code || '{_BEHIND}' END
        FROM walk
        CROSS JOIN LATERAL (
            SELECT code FROM {_ACCOUNTS} AND code > walk.place AND code < :end ORDER BY code LIMIT 1
        ) AS following
        CROSS JOIN LATERAL (
            SELECT array_to_string(
                (string_to_array(following.code, '{_BETWEEN}'))[1:CAST(:segments AS integer)], '{_BETWEEN}'
            ) COLLATE "C" AS code
        ) AS cut
    )
    SELECT walk.code, own.has_accounts, behind.goes_on
    FROM walk
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM {_ACCOUNTS} AND code = walk.code) AS has_accounts) AS own
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM {_ACCOUNTS} AND code > walk.code || '{_BETWEEN}' AND code < walk.code || '{_BEHIND}'
        ) AS goes_on
    ) AS behind
    WHERE walk.code IS NOT NULL AND (walk.code = walk.found OR NOT own.has_accounts)
    LIMIT :limit
    """  # noqa: S608 - names are this module's own
).bindparams(
    bindparam("ledger_id", type_=Integer), bindparam("segments", type_=Integer), bindparam("limit", type_=Integer)
)
