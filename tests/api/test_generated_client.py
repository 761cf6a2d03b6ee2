"""A client that a generator makes of the document, unchanged: it posts, holds, captures, reads and revises."""

import asyncio
import importlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.support.servers import RunningService, TestPostgres
from tests.support.service_process import launch

PREFIX = "/funds"
INT64_MAX = 2**63 - 1


class Generated:
    """The generated package: its functions and models by their names, and a client of the service."""

    def __init__(self, package: str, service: RunningService) -> None:
        self._package = package
        self.models = importlib.import_module(f"{package}.models")
        self.types = importlib.import_module(f"{package}.types")
        document = httpx.get(f"{service.url}{PREFIX}/openapi.json").json()
        [server] = document["servers"]
        client = importlib.import_module(f"{package}.client").AuthenticatedClient
        self.client = client(base_url=service.url + server["url"], token=service.admin_token)

    def call(self, tag: str, operation: str, *path: str | UUID, **arguments: Any) -> Any:
        """Call an operation and return its answer with status and headers."""
        module = importlib.import_module(f"{self._package}.api.{tag}.{operation}")
        return module.sync_detailed(*path, client=self.client, **arguments)

    def made(self, tag: str, operation: str, *path: str | UUID, **arguments: Any) -> Any:
        """Call an operation that must succeed, under a new key, and return the parsed answer."""
        answered = self.call(tag, operation, *path, idempotency_key=str(uuid4()), **arguments)
        assert answered.status_code in {200, 201}, answered.content
        return answered.parsed


@pytest.fixture(scope="module")
async def service(postgres: TestPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningService]:
    """A service that serves below a prefix."""
    async with postgres.fresh_database() as database:
        log = tmp_path_factory.mktemp("generated") / "serve.log"
        service = launch(database.service_url, log, FUNDS_PATH_PREFIX=PREFIX)
        try:
            await asyncio.to_thread(service.wait_until_ready)
            yield service
        finally:
            service.stop()


@pytest.fixture(scope="module")
def generated(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """A client generated from the document that the service serves."""
    tmp_path = tmp_path_factory.mktemp("client")
    package = f"funds_client_{uuid4().hex}"
    config = tmp_path / "config.yaml"
    config.write_text("post_hooks: []\n")  # which would format the code by tools that need not be there
    where = ["--url", f"{service.url}{PREFIX}/openapi.json", "--output-path", str(tmp_path / package)]
    how = ["--meta", "none", "--fail-on-warning", "--config", str(config)]
    command = [sys.executable, "-m", "openapi_python_client", "generate", *where, *how]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(tmp_path))
    generated = Generated(package, service)
    with generated.client:
        yield generated
    sys.path.remove(str(tmp_path))


def test_a_generated_client_moves_money(generated: Generated) -> None:
    models = generated.models
    open_account = models.AccountRequest
    rich = generated.made("accounts", "create_account", "main", body=open_account(currency="USD", name="rich"))
    poor = generated.made("accounts", "create_account", "main", body=open_account("USD", minimum_balance=0))

    ends: dict[str, Any] = {"debit_account_id": rich.id, "credit_account_id": poor.id, "currency": "USD"}
    large = 2**40  # more than 32 bits
    posted = generated.made("transfers", "post_transfer", "main", body=models.TransferRequest(amount=large, **ends))
    assert (posted.amount, posted.credit_balance_after) == (large, large)
    held = generated.made("holds", "open_hold", "main", body=models.HoldRequest(amount=7, **ends))
    captured = generated.made("holds", "capture_hold", "main", held.id, body=models.CaptureRequest(amount=3))
    assert (captured.amount, captured.hold_id) == (3, held.id)
    again = generated.made("holds", "open_hold", "main", body=models.HoldRequest(amount=INT64_MAX // 2, **ends))
    assert generated.made("holds", "void_hold", "main", again.id).status == "voided"

    read = generated.call("accounts", "get_account", "main", poor.id)
    assert (read.parsed.balance, read.parsed.available_balance) == (large + 3, large + 3)
    listed = generated.call("transfers", "list_transfers", "main", account_id=poor.id, limit=1).parsed
    assert [one.id for one in listed.items] == [captured.id]
    assert listed.next_cursor
    further = generated.call(
        "transfers", "list_transfers", "main", account_id=poor.id, limit=1, cursor=listed.next_cursor
    )
    assert [one.id for one in further.parsed.items] == [posted.id]


def test_a_generated_client_revises_and_is_told_problems(generated: Generated) -> None:
    models = generated.models
    poor = generated.made("accounts", "create_account", "main", body=models.AccountRequest("USD", minimum_balance=0))
    rich = generated.made("accounts", "create_account", "main", body=models.AccountRequest("USD"))

    with pytest.raises(TypeError, match="idempotency_key"):
        generated.call("accounts", "create_account", "main", body=models.AccountRequest("USD"))
    with pytest.raises(TypeError, match="if_match"):
        generated.call("accounts", "revise_account", "main", poor.id, body=models.AccountPatch())

    tag = generated.call("accounts", "get_account", "main", poor.id).headers["ETag"]
    patch = models.AccountPatch(name="renamed")
    revised = generated.call("accounts", "revise_account", "main", poor.id, body=patch, if_match=tag)
    assert (revised.status_code, revised.parsed.name) == (200, "renamed")
    stale = generated.call("accounts", "revise_account", "main", poor.id, body=patch, if_match=tag)
    assert (stale.status_code, stale.parsed.code) == (412, "version_mismatch")

    request = models.TransferRequest(debit_account_id=poor.id, credit_account_id=rich.id, amount=5, currency="USD")
    refused = generated.call("transfers", "post_transfer", "main", body=request, idempotency_key="a/b")
    assert isinstance(refused.parsed, models.InsufficientFunds)
    assert (refused.status_code, refused.parsed.code, refused.parsed.shortfall) == (422, "insufficient_funds", 5)
    shown = generated.call("idempotency_keys", "get_idempotency_key", "main", "a/b").parsed
    assert (shown.outcome, shown.problem.instance) == ("rejected", f"{PREFIX}/v1/ledgers/main/idempotency-keys/a%2Fb")

    items = [
        models.BatchItem(poor.id, rich.id, 1, "USD", idempotency_key="refused"),
        models.BatchItem(rich.id, poor.id, 1, "USD", idempotency_key="posted"),
    ]
    batch = generated.call("transfers", "post_transfer_batch", "main", body=models.BatchRequest(items))
    assert batch.status_code == 207
    assert [one.status for one in batch.parsed.results] == [422, 201]
    assert batch.parsed.results[1].transfer.amount == 1
