"""The page on backup and recovery: its commands bring a ledger back as it was at a moment, and say what that lacks."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.embedded import host
from service.embedded.postgres import EmbeddedPostgres
from service.proofs.keys import SignerKey
from service.storage.migrations import upgrade
from tests.support.http_ledger import JSON, answer, keyed, transfer
from tests.support.log import ORIGIN
from tests.support.servers import (
    FUNDS,
    ROOT,
    RunningService,
    clean_environment,
    free_port,
    random_token,
    run_funds,
)
from tests.support.service_process import launch

PAGE = (ROOT / "service" / "docs" / "backup.md").read_text()
LEDGER = "/v1/ledgers/main"
SEALED_SECONDS_MAX = 30
CUT = "Not proven. The old checkpoint is of {} entries and the new one of {}: they are exchanged, or the log was cut.\n"
CURL = shutil.which("curl")
PROGRAMS = ("pg_basebackup", "pg_ctl", "pg_verifybackup", "psql")


class Reader:
    """Somebody who follows the page in one shell, under ``folder`` instead of ``/``."""

    def __init__(self, folder: Path, names: dict[str, str]) -> None:
        self._folder = folder
        self._step = 0
        with self.output.open("w") as output:
            self._shell = subprocess.Popen(
                ["bash", "-euo", "pipefail"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env=clean_environment(names) | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
            )

    @property
    def output(self) -> Path:
        return self._folder / "output"

    def follow(self, heading: str, number: int = 0, **names: str) -> None:
        """Type the commands of a section, its block ``number``, and wait until they are done."""
        section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        commands = re.findall(r"(?s)```sh\n(.*?)```", section)[number]
        self._step += 1
        done = self._folder / f"done-{self._step}"
        assert self._shell.stdin is not None
        given = "".join(f"{name}={value!r}\n" for name, value in names.items())
        self._shell.stdin.write(f"{given}{commands}\ntouch {done}\n")
        self._shell.stdin.flush()
        while not done.exists():
            assert self._shell.poll() is None, self.output.read_text()
            time.sleep(0.05)

    def close(self) -> None:
        self._shell.kill()
        self._shell.communicate()


class Caller:
    """A caller with two accounts."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.accounts = [self.account() for _ in range(2)]

    def account(self, key: str | None = None) -> JSON:
        opened = self.http.post(f"{LEDGER}/accounts", json={"currency": "USD"}, headers=keyed(key))
        assert opened.status_code == 201, opened.text
        return answer(opened)

    def move(self, key: str) -> JSON:
        moved = self.http.post(f"{LEDGER}/transfers", json=transfer(*self.accounts), headers=keyed(key))
        assert moved.status_code in {200, 201}, moved.text
        return answer(moved)

    def outcome(self, key: str) -> str:
        return str(answer(self.http.get(f"{LEDGER}/idempotency-keys/{key}"))["outcome"])

    def balance(self) -> int:
        read = self.http.get(f"{LEDGER}/accounts/{self.accounts[1]['id']}")
        return int(answer(read)["balance"])

    def wait_until_sealed(self, transfer_id: str) -> None:
        deadline = time.monotonic() + SEALED_SECONDS_MAX
        while self.http.get(f"{LEDGER}/transfers/{transfer_id}/receipt").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)


class Scene:
    """A primary that archives as the page says, and what is around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user = host.server_user()
        for name in ("bin", "backup", "backup/wal", "kept"):
            (folder / name).mkdir(mode=0o711)
            if self.user is not None:
                os.chown(folder / name, self.user.pw_uid, self.user.pw_gid)
        self.primary = EmbeddedPostgres(
            folder / "primary", options={"fsync": "off"} | self._settings(), tcp_port=free_port()
        )
        self.port = free_port()
        self.key = SignerKey.generate(ORIGIN).secret_text()
        self.token = random_token()
        self._readers: list[Reader] = []
        self._clients: list[httpx.Client] = []
        self._services: list[RunningService] = []
        self._make_programs()

    def _settings(self) -> dict[str, str]:
        [block] = re.findall(r"(?s)```ini\n(.*?)```", PAGE)
        pairs = (line.split(" = ", 1) for line in block.splitlines())
        return {name: value.strip("'").replace("/backup", f"{self.folder}/backup") for name, value in pairs}

    def _make_programs(self) -> None:
        """Programs as the page calls them: those of PostgreSQL run as its user, who starts them in a folder of his."""
        prefix = (
            "" if self.user is None else f"setpriv --reuid={self.user.pw_uid} --regid={self.user.pw_gid} --clear-groups"
        )
        commands = {name: f"cd /; exec {prefix} {host.program_directory() / name}" for name in PROGRAMS}
        commands["funds"] = f"PYTHONPATH={ROOT} exec {FUNDS[0]} -c '{FUNDS[2]}'"
        for name, command in commands.items():
            (self.folder / "bin" / name).write_text(f'#!/bin/sh\n{command} "$@"\n')
            (self.folder / "bin" / name).chmod(0o755)

    def reader(self, service: RunningService) -> Reader:
        names = {
            "BACKUP": str(self.folder / "backup"),
            "KEPT": str(self.folder / "kept"),
            "RESTORED": str(self.folder / "restored"),
            "PORT": str(self.port),
            "SUPERUSER_URL": self.primary.superuser_url,
            "API": service.url,
            "TOKEN": self.token,
            "LEDGERS": "main",
        }
        self._readers.append(Reader(self.folder, names))
        return self._readers[-1]

    def caller(self, service: RunningService) -> Caller:
        self._clients.append(httpx.Client(base_url=service.url, headers=service.headers, timeout=20))
        return Caller(self._clients[-1])

    def serve(self, url: str, port: int, **more: str) -> RunningService:
        settings = {
            "FUNDS_LOG_KEY": self.key,
            "FUNDS_LOG_ORIGIN": ORIGIN,
            "FUNDS_LOG_SEAL_INTERVAL_SECONDS": "0.05",
        } | more
        service = launch(url, self.folder / "serve.log", token=self.token, port=port, **settings)
        self._services.append(service)
        service.wait_until_ready()
        return service

    def kept(self, name: str) -> Path:
        return self.folder / "kept" / name

    def proof(self) -> list[str]:
        """The last checkpoint of the restored log under its old name, and the proof that leads to it."""
        return [f"{self.folder}/restored.checkpoint", f"{self.folder}/restored.proof"]

    def restored_url(self, role: str) -> str:
        return f"postgresql://{role}@127.0.0.1:{self.port}/funds"

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        for client in self._clients:
            client.close()
        for service in self._services:
            service.stop()
        if (self.folder / "restored" / "postmaster.pid").exists():
            program, data = str(self.folder / "bin" / "pg_ctl"), str(self.folder / "restored")
            subprocess.run([program, "stop", "-D", data, "-m", "immediate", "-s"], check=True)
        self.primary.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A primary with the schema, and nobody on it."""
    scene = Scene(tmp_path)
    try:
        scene.primary.start()
        asyncio.run(upgrade(scene.primary.owner_url))
        yield scene
    finally:
        scene.close()


@pytest.mark.skipif(CURL is None, reason="the page asks with curl, which is not installed")
def test_a_ledger_comes_back_as_it_was_at_a_moment(scene: Scene) -> None:
    service = scene.serve(scene.primary.service_url, free_port())
    reader, caller = scene.reader(service), scene.caller(service)
    reader.follow("Take base backups")
    before = caller.move("before")
    caller.wait_until_sealed(before["id"])
    reader.follow("Keep checkpoints outside")
    caller.wait_until_sealed(caller.move("between")["id"])
    moment = scene.primary._query("postgres", "SELECT clock_timestamp()").strip()
    account_after, after = caller.account("account-after"), caller.move("after")
    caller.wait_until_sealed(after["id"])
    reader.follow("Keep checkpoints outside")
    assert service.stop() == 0
    scene.primary.stop()
    known, ahead = sorted(int(file.name) for file in scene.kept("main").iterdir())

    reader.follow("Restore to a moment", MOMENT=moment)
    reader.follow("Verify")

    told = reader.output.read_text()
    assert re.search(r"(?m)^the installation: sound .*\nmain: sound \(.*log\)$", told), told
    there = known + 1
    assert f"log_checkpoints {ahead}: the history has {there} entries: 2 are missing, from entry {there} on" in told

    reader.follow("Go on")
    trusted = json.loads(scene.kept("installation.json").read_text())["verifier_key"]
    renamed = {"FUNDS_LOG_ORIGIN": f"{ORIGIN}-2", "FUNDS_LOG_VERIFIER_KEYS": trusted}
    service = scene.serve(scene.restored_url("funds_service"), service.port, **renamed)
    reader.follow("Go on", 1)
    assert f"Proven: the first {known} entries are the same" in reader.output.read_text()

    # What was there is replayed; what was lost is posted once.
    assert caller.balance() == 2
    assert caller.move("before") == before
    assert caller.outcome("after") == "never_seen"
    again = caller.move("after")
    assert again["id"] != after["id"]
    assert caller.move("after") == again
    assert caller.account("account-after")["id"] != account_after["id"]
    assert caller.balance() == 3
    caller.wait_until_sealed(again["id"])

    command = ["verify-consistency", str(scene.kept("main") / str(ahead)), *scene.proof(), "--key"]
    cut = run_funds(*command, str(scene.kept("main.key")), settings={})
    assert (cut.returncode, cut.stdout) == (1, CUT.format(ahead, there))
    settings = {"FUNDS_DATABASE_URL": scene.restored_url("funds_auditor"), "FUNDS_LOG_KEY": scene.key} | renamed
    verified = run_funds("verify", "--checkpoint", str(scene.kept("main") / str(known)), settings=settings)
    assert verified.returncode == 0, verified.stdout
    assert service.stop() == 0


@pytest.mark.skipif(CURL is None, reason="the page asks with curl, which is not installed")
def test_a_lost_machine_is_restored_to_the_end_of_the_archive(scene: Scene) -> None:
    """Nothing is lost of what was archived, and the logs go on under their name."""
    service = scene.serve(scene.primary.service_url, free_port())
    reader, caller = scene.reader(service), scene.caller(service)
    reader.follow("Take base backups")
    last = caller.move("last")
    caller.wait_until_sealed(last["id"])
    reader.follow("Keep checkpoints outside")
    assert service.stop() == 0
    scene.primary.stop()

    reader.follow("Restore to a moment", MOMENT="")
    reader.follow("Verify")
    assert re.search(r"(?m)^main: sound \(.* 1 kept checkpoint compared\)$", reader.output.read_text())
    reader.follow("Go on")
    service = scene.serve(scene.restored_url("funds_service"), service.port)
    assert caller.move("last") == last
    caller.wait_until_sealed(caller.move("next")["id"])
    reader.follow("Go on", 1)
    assert service.stop() == 0
