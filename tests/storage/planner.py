"""The plans of queries: how PostgreSQL carried out what was sent, and how many pages it touched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.storage.database import Database


class Planner:
    """Runs queries as they were sent and counts the pages that they touch."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._prepared: dict[str, str] = {}

    async def measure(self, statement: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
        """Return the plan of ``statement``, as it was carried out."""
        name = self._prepared.get(statement)
        if name is None:
            name = self._prepared[statement] = f"query_{len(self._prepared)}"
            await self._driver.execute(f"PREPARE {name} AS {statement}")
        values = f"({', '.join(map(_literal, parameters))})" if parameters else ""
        [explained] = await self._driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name}{values}")
        plan: dict[str, Any] = explained["Plan"]
        return plan

    async def drop_plans(self) -> None:
        """Have everything planned anew, as a transaction that reads does."""
        await self._driver.execute("BEGIN READ ONLY; DISCARD PLANS; COMMIT")


def pages_read(node: dict[str, Any]) -> int:
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def outline(node: dict[str, Any], depth: int = 0) -> str:
    """The plan in short: what each node does, with which index, how many rows came out and were thrown away."""
    shown = [node["Node Type"], node.get("Index Name", ""), f"rows {node['Actual Rows']} x {node['Actual Loops']}"]
    shown += [f"{name}: {node[name]}" for name in ("Index Cond", "Filter", "Rows Removed by Filter") if name in node]
    if "Shared Hit Blocks" in node:
        shown.append(f"pages {pages_read(node)}")
    return "\n".join(
        ["  " * depth + ", ".join(filter(None, shown)), *(outline(one, depth + 1) for one in node.get("Plans", []))]
    )


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        if value and isinstance(value[0], bytes):
            return f"ARRAY[{', '.join(map(_literal, value))}]::bytea[]"
        return "'{" + ",".join(f'"{one}"' for one in value) + "}'"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    return "'" + str(value).replace("'", "''") + "'"


@asynccontextmanager
async def planning(database: Database, plans: str) -> AsyncIterator[Planner]:
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.execute(f"SET plan_cache_mode = {plans}")
        yield Planner(driver)
        await connection.invalidate()  # what was prepared and set goes with it
