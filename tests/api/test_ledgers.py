"""Ledgers: created once, read, listed by name; a token sees its own only."""

import httpx
import pytest

from tests.api.conftest import MakeClient
from tests.support.http_ledger import JSON, LedgerClient, answer, keyed, problem, unique


async def test_main_is_there_from_the_start(client: httpx.AsyncClient) -> None:
    assert answer(await client.get("/v1/ledgers/main"))["name"] == "main"


@pytest.mark.parametrize("members", [{}, {"description": None}, {"description": "Savings, ünïcode\nand lines"}])
async def test_a_created_ledger_is_read_where_location_says(ledger: LedgerClient, members: JSON) -> None:
    name = unique("ledger")
    created = await ledger.client.post("/v1/ledgers", json={"name": name} | members, headers=keyed())
    assert created.status_code == 201
    assert created.headers["Location"] == f"/v1/ledgers/{name}"
    assert answer(created)["name"] == name
    assert answer(created)["description"] == members.get("description")
    assert (await ledger.client.get(created.headers["Location"])).json() == created.json()


@pytest.mark.parametrize("name", ["0", "a" * 47, "a_b-c"])
async def test_names_of_every_kind(ledger: LedgerClient, name: str) -> None:
    name += unique("")[1:]
    created = await ledger.client.post("/v1/ledgers", json={"name": name}, headers=keyed())
    assert created.status_code == 201
    assert (await ledger.client.get(f"/v1/ledgers/{name}")).status_code == 200


async def test_a_name_is_given_once(ledger: LedgerClient) -> None:
    taken = await ledger.client.post("/v1/ledgers", json={"name": ledger.name}, headers=keyed())
    assert problem(taken, 409, "reference_taken")["name"] == ledger.name


@pytest.mark.parametrize(
    "name", ["absent", "MAIN", "main%00", "main%0A", "%FF", "x" * 64, "x" * 5000, "..%2Fmain", "%2e"]
)
async def test_no_ledger_of_this_name(client: httpx.AsyncClient, name: str) -> None:
    response = await client.get(f"/v1/ledgers/{name}")
    assert response.status_code == 404
    assert answer(response)["code"] in {"ledger_not_found", "not_found"}


async def test_ledgers_are_listed_by_name(ledger: LedgerClient) -> None:
    names = [unique("list") for _ in range(3)]
    for name in names:
        await LedgerClient.open(ledger.client, name)
    listed = [one["name"] for one in answer(await ledger.client.get("/v1/ledgers?limit=1000"))["items"]]
    assert listed == sorted(listed)
    assert {"main", *names} <= set(listed)


async def test_a_limited_token_sees_its_ledgers_and_creates_no_other(
    ledger: LedgerClient, make_client: MakeClient
) -> None:
    limited = await make_client("admin", ledgers=[ledger.name, "main"])
    listed = answer(await limited.get("/v1/ledgers"))
    assert [one["name"] for one in listed["items"]] == sorted([ledger.name, "main"])

    other = unique("other")
    problem(await limited.post("/v1/ledgers", json={"name": other}, headers=keyed()), 403, "forbidden")
    problem(await ledger.client.get(f"/v1/ledgers/{other}"), 404, "ledger_not_found")


async def test_a_limited_token_may_create_the_ledger_it_is_for(make_client: MakeClient) -> None:
    name = unique("ledger")
    limited = await make_client("admin", ledgers=[name])
    problem(await limited.get(f"/v1/ledgers/{name}"), 404, "ledger_not_found")
    created = await limited.post("/v1/ledgers", json={"name": name}, headers=keyed())
    assert created.status_code == 201
    assert (await limited.get(f"/v1/ledgers/{name}")).status_code == 200


async def test_ledgers_do_not_mix(ledger: LedgerClient) -> None:
    other = await LedgerClient.open(ledger.client, unique("other"))
    await ledger.move(await ledger.account(), await ledger.account())
    for path in (other.accounts, other.transfers):
        assert answer(await ledger.client.get(path)) == {"items": [], "next_cursor": None}
