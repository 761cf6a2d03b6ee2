"""The form of a rule, and what the queries of several rules share.

A rule's query returns what breaks the rule: the table, the row's identifier, and in a sentence what is wrong with it.
It uses nothing of the service but the tables, so whoever reads it can run it with any client. Its parameters are:

    $1              the ledger's id; 0 for what belongs to none, the installation's ledgers and tokens
    $2, $3          the slice: rows with $2 < id <= $3, as texts; of decisions with ($2, $3) < (client, key) <= ($4, $5)
    $4 (or $6)      only what was made or changed since this time; -infinity for all

and $1 alone where the rule can only be asked of a whole ledger.
"""

from typing import NamedTuple

from msgspec import Struct

from service.domain.integrity import Scope


class Rule(Struct, frozen=True):
    """Something that is true of every sound ledger. ``name`` says what in a sentence, ``proves`` what follows."""

    name: str
    proves: str
    scope: Scope
    query: str


class Tables(NamedTuple):
    """The rows of a slice, as queries."""

    accounts: str = """
        SELECT * FROM funds.accounts
        WHERE ledger_id = $1::integer AND id > $2::text::uuid AND id <= $3::text::uuid AND updated_at >= $4::timestamptz
    """
    transfers: str = """
        SELECT * FROM funds.transfers
        WHERE ledger_id = $1::integer AND id > $2::text::uuid AND id <= $3::text::uuid AND created_at >= $4::timestamptz
    """
    holds: str = """
        SELECT * FROM funds.holds
        WHERE ledger_id = $1::integer AND id > $2::text::uuid AND id <= $3::text::uuid
          AND (status = 'open' OR created_at >= $4::timestamptz OR closed_at >= $4::timestamptz)
    """
    history: str = """
        SELECT * FROM funds.history
        WHERE ledger_id = $1::integer AND id > $2::text::uuid AND id <= $3::text::uuid AND created_at >= $4::timestamptz
    """
    decisions: str = """
        SELECT * FROM funds.decisions
        WHERE ledger_id = $1::integer AND (client_id, idempotency_key) > ($2::text, $3::text)
          AND (client_id, idempotency_key) <= ($4::text, $5::text) AND created_at >= $6::timestamptz
    """


SLICE = Tables()


def misses_its_time(identifier: str, at: str) -> str:
    """Return the condition that the column ``identifier`` does not tell the time ``at`` (``domain.identifiers``)."""
    return f"left(replace({identifier}::text, '-', ''), 16) <> {_beginning(at)}"


def first_identifier(at: str) -> str:
    """Return the smallest identifier of the time ``at``, as ``domain.identifiers`` has it."""
    return f"({_beginning(at)} || '8000000000000000')::uuid"


def _beginning(at: str) -> str:
    milliseconds = f"lpad(to_hex(floor(extract(epoch FROM {at}) * 1000)::bigint), 12, '0')"
    fraction = f"lpad(to_hex(extract(microseconds FROM {at})::bigint % 1000 * 4096 / 1000), 3, '0')"
    return f"{milliseconds} || '7' || {fraction}"


TIME_DIFFERS = "'its identifier was made for another time than its created_at, ' || {row}.created_at"
