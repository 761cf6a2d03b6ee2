"""The control API as programs in other languages use it: over HTTP, without the kit's own classes."""

from collections.abc import Iterator

import httpx
import pytest

from funds_testing import FundsService
from tests.support.http_ledger import answer, keyed, problem


@pytest.fixture
def control(funds_service: FundsService) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {funds_service.admin_token}"}
    with httpx.Client(base_url=funds_service.control_url, headers=headers) as client:
        yield client


def test_a_fault_is_asked_for_met_and_told(control: httpx.Client, funds_service: FundsService) -> None:
    made = answer(control.post("/ledgers", json={"name": "shop"}))
    name = made["name"]
    assert name.startswith("shop-")
    fault = {"fault": "unavailable", "ledger": name, "times": 2}
    assert control.post("/faults", json=fault).status_code == 204
    headers = {"Authorization": f"Bearer {made['token']}"} | keyed("cash")
    path = f"/v1/ledgers/{name}/accounts"
    refused = httpx.post(funds_service.url + path, json={"currency": "USD"}, headers=headers)
    problem(refused, 503, "overloaded")
    told = answer(control.get("/faults", params={"ledger": name}))
    assert told["armed"] == [fault | {"token": None, "requests": "writes", "times": 1}]
    met = {"fault": "unavailable", "method": "POST", "path": path, "idempotency_key": "cash", "status": None}
    assert told["met"] == [met]
    assert control.delete("/faults", params={"ledger": name}).status_code == 204
    assert answer(control.get("/faults", params={"ledger": name})) == {"armed": [], "met": []}
    assert answer(control.get(f"/ledgers/{name}/check")) == {"findings": []}
    assert control.delete(f"/ledgers/{name}").status_code == 204


def test_the_token_of_a_ledger_sees_no_other(control: httpx.Client, funds_service: FundsService) -> None:
    made, other = (answer(control.post("/ledgers", json={})) for _ in range(2))
    headers = {"Authorization": f"Bearer {made['token']}"}
    seen = httpx.get(f"{funds_service.url}/v1/ledgers/{other['name']}/accounts", headers=headers)
    problem(seen, 404, "ledger_not_found")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{", "truncated"),
        ('{"fault": "bad_luck", "ledger": "main"}', "bad_luck"),
        ('{"fault": "drop_before"}', "`ledger`"),
        ('{"fault": "drop_before", "ledger": "main", "token": "t"}', "`ledger`"),
        ('{"fault": "delay", "ledger": "main"}', "seconds"),
        ('{"fault": "decline", "ledger": "main", "code": "no"}', "hold_expired"),
    ],
)
def test_what_is_not_understood_is_said(control: httpx.Client, body: str, says: str) -> None:
    told = problem(control.post("/faults", content=body), 400, "malformed_request")
    assert says in told["detail"]


def test_what_is_not_there_is_said(control: httpx.Client) -> None:
    problem(control.get("/ledgers/nobody-made-it/check"), 404, "ledger_not_found")
    problem(control.post("/ledgers/main/rewind"), 404, "not_found")
    problem(control.put("/faults"), 405, "method_not_allowed")
    problem(control.post("/faults", content=b" " * 70_000), 413, "request_too_large")


def test_only_the_admin_controls(funds_service: FundsService) -> None:
    problem(httpx.get(f"{funds_service.control_url}/faults?ledger=main"), 401, "unauthenticated")


def test_other_paths_are_the_service_past_the_faults(control: httpx.Client, funds_service: FundsService) -> None:
    ledger = funds_service.ledger()
    ledger.faults.drop_before(requests="all", times=5)
    past = httpx.get(
        f"{funds_service.control_url.removesuffix('/testing')}/v1/ledgers/{ledger.name}", headers=control.headers
    )
    assert answer(past)["name"] == ledger.name
