"""Named queries on balances at a time.

What is asked of places in the ledger's order that are behind its head has one answer for ever, whatever the snapshot:
nothing is ever recorded there again.
"""

from collections.abc import Sequence
from operator import attrgetter
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Integer, bindparam, text
from sqlalchemy.dialects.postgresql import UUID as PGUUID

from service.domain.balances import Held, Posted, Viewpoint
from service.storage.database import Session
from service.storage.rows import OPEN_MILLISECONDS_DIGITS, SCHEMA, UUIDS
from service.storage.transfer_walks import SIDES, search_version

_DIGITS_MAX = 13
"""As many digits have the milliseconds of three centuries."""


class BalanceRepository:
    """Reads balances at a time on the session of one unit of work."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def posted(self, ledger_id: int, account_ids: Sequence[UUID], viewpoint: Viewpoint) -> list[Posted]:
        """Return the posted balances of those accounts that exist of ``account_ids``, in no order.

        Of each account, the transfer that stands last at the viewpoint's base is searched for along its versions; its
        balance is corrected by what was dated apart, across the viewpoint.
        """
        return await self._posted(ledger_id, account_ids, [viewpoint])

    async def posted_from(self, ledger_id: int, account_id: UUID, viewpoints: Sequence[Viewpoint]) -> list[Posted]:
        """Return the posted balances of one account from each of ``viewpoints``, in their order; none where the account
        does not exist.
        """
        return await self._posted(ledger_id, [account_id], viewpoints)

    async def _posted(
        self, ledger_id: int, account_ids: Sequence[UUID], viewpoints: Sequence[Viewpoint]
    ) -> list[Posted]:
        """Return the posted balances of each account from each viewpoint, in the order of these."""
        parameters = {
            "ledger_id": ledger_id,
            "ids": list(account_ids),
            "as_of": [one.as_of for one in viewpoints],
            "through": [one.through for one in viewpoints],
            "base": [one.base for one in viewpoints],
            "unchanged_at": [one.base_at for one in viewpoints],
            "end": [one.end for one in viewpoints],
        }
        rows = sorted(await self._session.execute(_POSTED, parameters), key=attrgetter("place"))
        return [
            Posted(account_id=row.account_id, currency=row.currency, normal_side=row.normal_side, balance=row.balance)
            for row in rows
        ]

    async def held(self, ledger_id: int, account_ids: Sequence[UUID], viewpoint: Viewpoint) -> list[Held]:
        """Return what holds reserved, and the versions, of those accounts that exist of ``account_ids``, in no order:
        of what was recorded before the viewpoint's end. Value dates are none of their business.

        Read are the holds that were open then and still are, and of those that ended since the ones that ended soon
        enough to have been open then, for how long holds of their order of magnitude are: at most ten times that.
        """
        parameters = {
            "ledger_id": ledger_id,
            "ids": list(account_ids),
            "at": viewpoint.end,
            "known_at": viewpoint.known_at,
        }
        return [Held(**row._asdict()) for row in await self._session.execute(_HELD, parameters)]


_ACCOUNTS = f"""
    unnest(:ids) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT * FROM {SCHEMA}.accounts AS one WHERE one.ledger_id = :ledger_id AND one.id = wanted.id LIMIT 1
    ) AS account
"""  # noqa: S608 - names are this module's own, as below


def _latest(value: str, at: str) -> str:
    """Return the SQL for ``value`` of the transfer of ``account`` that stands last before the identifier ``at``."""
    sides = [
        f"""(SELECT {value.format(side=side)}, {side}_account_version
             FROM {SCHEMA}.transfers
             WHERE ledger_id = :ledger_id AND {side}_account_id = account.id
               AND {side}_account_version < found.version
             ORDER BY {side}_account_version DESC
             LIMIT 1)"""  # noqa: S608
        for side in SIDES
    ]
    return f"""(
        SELECT value
        FROM ({search_version("account.id", "account.version + 1", at)}) AS found (version)
        CROSS JOIN LATERAL (
            SELECT * FROM ({" UNION ALL ".join(sides)}) AS latest (value, version) ORDER BY version DESC LIMIT 1
        ) AS latest
    )"""  # noqa: S608


# What is compared IS TRUE serves as a condition of no index: each part has the index that ends its scan soonest.
_ACROSS = {
    "dated later": "effective_at >= seen.as_of AND (effective_at > seen.as_of OR id > seen.through)"
    " AND (id < seen.base) IS TRUE",
    "dated before": "id >= seen.base AND id < seen.ends"
    " AND (effective_at < seen.as_of OR effective_at = seen.as_of AND id <= seen.through) IS TRUE",
}
_APART = [
    f"""coalesce((
        SELECT sum(amount)
        FROM {SCHEMA}.transfers
        WHERE ledger_id = :ledger_id AND {side}_account_id = account.id AND effective_at <> created_at AND {across}
    ), 0) * CASE account.normal_side WHEN '{side}' THEN {sign}1 ELSE {other}1 END"""  # noqa: S608
    for side in SIDES
    for sign, other, across in (("-", "", _ACROSS["dated later"]), ("", "-", _ACROSS["dated before"]))
]

_POSTED = text(
    f"""
    SELECT seen.place, account.id AS account_id, account.currency, account.normal_side,
           ((
               CASE WHEN account.updated_at <= seen.unchanged_at
                    THEN (account.credits_posted - account.debits_posted)
                         * CASE account.normal_side WHEN 'credit' THEN 1 ELSE -1 END
                    ELSE coalesce({_latest("{side}_balance_after", "seen.base")}, 0)
               END
           ) + {" + ".join(_APART)})::bigint AS balance
    FROM {_ACCOUNTS}
    CROSS JOIN unnest(:as_of, :through, :base, :unchanged_at, :end) WITH ORDINALITY
        AS seen (as_of, through, base, unchanged_at, ends, place)
    """  # noqa: S608
).bindparams(
    bindparam("ledger_id", type_=Integer),
    bindparam("ids", type_=UUIDS),
    bindparam("as_of", type_=ARRAY(DateTime(timezone=True))),
    bindparam("through", type_=UUIDS),
    bindparam("base", type_=UUIDS),
    bindparam("unchanged_at", type_=ARRAY(DateTime(timezone=True))),
    bindparam("end", type_=UUIDS),
)

# What a hold reserved then: what was captured of it since is still in it.
_RESERVED = f"""
    amount - captured_amount + CASE WHEN captured_amount > 0 THEN coalesce((
        SELECT sum(capture.amount)
        FROM {SCHEMA}.transfers AS capture
        WHERE capture.ledger_id = :ledger_id AND capture.hold_id = hold.id AND capture.id >= :at
    ), 0) ELSE 0 END
"""  # noqa: S608

_DIGITS = f"generate_series(1, {_DIGITS_MAX}) AS open_for (digits)"


def _held(side: str) -> str:
    of_account = f"ledger_id = :ledger_id AND {side}_account_id = account.id"
    return f"""coalesce((
        SELECT sum({_RESERVED}) FROM {SCHEMA}.holds AS hold WHERE {of_account} AND status = 'open' AND id < :at
    ), 0) + coalesce((
        SELECT sum(closed.reserved)
        FROM {_DIGITS}
        CROSS JOIN LATERAL (
            SELECT sum({_RESERVED}) AS reserved
            FROM {SCHEMA}.holds AS hold
            WHERE {of_account} AND {OPEN_MILLISECONDS_DIGITS} = open_for.digits AND closed_at > :known_at
              AND closed_at <= :known_at + interval '1 millisecond' * 10 ^ open_for.digits AND (id < :at) IS TRUE
        ) AS closed
    ), 0)"""  # noqa: S608


def _latest_of_holds(side: str) -> str:
    of_account = f"ledger_id = :ledger_id AND {side}_account_id = account.id"
    return f"""(
        SELECT max(opened.version)
        FROM unnest(ARRAY['open', 'captured', 'voided', 'expired']) AS state (status)
        CROSS JOIN LATERAL (
            SELECT {side}_account_version AS version
            FROM {SCHEMA}.holds AS hold
            WHERE {of_account} AND status = state.status AND id < :at
            ORDER BY id DESC
            LIMIT 1
        ) AS opened
    ), (
        SELECT max(closed.version)
        FROM {_DIGITS}
        CROSS JOIN LATERAL (
            SELECT closed_{side}_account_version AS version
            FROM {SCHEMA}.holds AS hold
            WHERE {of_account} AND {OPEN_MILLISECONDS_DIGITS} = open_for.digits AND closed_at <= :known_at
            ORDER BY closed_at DESC, closed_{side}_account_version DESC
            LIMIT 1
        ) AS closed
    )"""  # noqa: S608


_HELD = text(
    f"""
    SELECT account.id AS account_id, at_that_time.*
    FROM {_ACCOUNTS}
    CROSS JOIN LATERAL (
        SELECT account.debits_held, account.credits_held, account.version
        WHERE account.updated_at <= :known_at
        UNION ALL
        SELECT ({_held("debit")})::bigint, ({_held("credit")})::bigint,
               greatest({_latest("{side}_account_version", ":at")}, {_latest_of_holds("debit")},
                        {_latest_of_holds("credit")}, 0)
        WHERE account.updated_at > :known_at
    ) AS at_that_time
    """  # noqa: S608
).bindparams(
    bindparam("ledger_id", type_=Integer),
    bindparam("ids", type_=UUIDS),
    bindparam("at", type_=PGUUID(as_uuid=True)),
    bindparam("known_at", type_=DateTime(timezone=True)),
)
