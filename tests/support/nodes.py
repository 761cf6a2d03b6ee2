"""An ordinary PostgreSQL that says that it has Citus, and nodes of which one may be away: to read a row of a ledger
that lies there fails as Citus has it fail.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg

from tests.support.citus import claim_citus

TABLES = ("ledger_heads", "accounts", "holds", "log_checkpoints", "verifications")
"""Those whose rows cannot be read. Nothing can be copied to them meanwhile: no account or hold is opened."""

_CATALOG = """
    SET allow_system_table_mods = on;
    CREATE TABLE pg_catalog.pg_dist_node (groupid integer, nodename text, nodeport integer, noderole text);
    CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint, groupid integer);
    CREATE FUNCTION pg_catalog.get_shard_id_for_distribution_column(regclass, integer) RETURNS bigint
        LANGUAGE sql AS 'SELECT $2::bigint';
    SET allow_system_table_mods = off;
    GRANT SELECT ON pg_catalog.pg_dist_node, pg_catalog.pg_dist_placement TO PUBLIC;
    CREATE TABLE public.away (ledger_id integer);
    CREATE FUNCTION public.answers(ledger integer) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        IF EXISTS (SELECT FROM public.away WHERE ledger_id = ledger) THEN
            RAISE connection_failure USING MESSAGE = 'connection to the remote node failed';
        END IF;
        RETURN true;
    END $$;
    REVOKE USAGE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO funds_service;
"""


class Nodes:
    """The nodes of a database, as ``superuser`` makes them; no connection of the service may be open yet."""

    def __init__(self, superuser: asyncpg.Connection) -> None:
        self._superuser = superuser

    async def divide(self, ledgers: Mapping[str, list[int]]) -> None:
        """Let each node have ``ledgers``, by its name."""
        await claim_citus(self._superuser)
        await self._superuser.execute(_CATALOG)
        for table in TABLES:
            await self._superuser.execute(f"CREATE POLICY answers ON funds.{table} USING (public.answers(ledger_id))")
        await self._superuser.execute("SET allow_system_table_mods = on")
        for group, (name, ledger_ids) in enumerate(ledgers.items(), 1):
            node = "INSERT INTO pg_dist_node VALUES ($1, $2, 5432, 'primary')"
            await self._superuser.execute(node, group, name)
            placements = "INSERT INTO pg_dist_placement SELECT one, $2 FROM unnest($1::integer[]) AS one"
            await self._superuser.execute(placements, ledger_ids, group)
        await self._superuser.execute("SET allow_system_table_mods = off")

    @asynccontextmanager
    async def away(self, *ledger_ids: int) -> AsyncIterator[None]:
        """Let the node that has these ledgers be away."""
        await self._superuser.execute("INSERT INTO public.away SELECT unnest($1::integer[])", ledger_ids)
        await self._guard("ENABLE")
        yield
        await self._guard("DISABLE")
        await self._superuser.execute("TRUNCATE public.away")

    async def _guard(self, change: str) -> None:
        for table in TABLES:
            await self._superuser.execute(f"ALTER TABLE funds.{table} {change} ROW LEVEL SECURITY")
