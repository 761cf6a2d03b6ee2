"""``funds log-key``, and the key that the embedded installation makes for itself."""

import time
from pathlib import Path

import httpx
import pytest

from service.proofs.keys import KeyKind, SignerKey
from tests.support.log_verifier import check_checkpoint
from tests.support.servers import RunningService, free_port, run_funds

ORIGIN = "bank.example/funds"


def test_a_new_key_and_the_verifier_keys_of_ledgers(tmp_path: Path) -> None:
    made = run_funds("log-key", settings={"FUNDS_LOG_ORIGIN": ORIGIN})
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith(f"PRIVATE+KEY+{ORIGIN}+")
    assert secret not in made.stderr
    path = tmp_path / "log.key"
    path.write_text(made.stdout)
    settings = {"FUNDS_LOG_ORIGIN": ORIGIN, "FUNDS_LOG_KEY_FILE": str(path)}
    told = run_funds("log-key", "--verifier", "main", "--verifier", "other", settings=settings)
    assert told.returncode == 0, told.stderr
    names = [line.split("+", 1)[0] for line in told.stdout.splitlines()]
    assert names == [f"{ORIGIN}/main", f"{ORIGIN}/other"]
    assert "PRIVATE" not in told.stdout + told.stderr
    assert run_funds("log-key", settings={"FUNDS_LOG_ORIGIN": ORIGIN}).stdout.strip() != secret


def test_without_a_key_there_is_none_to_tell(tmp_path: Path) -> None:
    refused = run_funds("log-key", "--verifier", "main", settings={"FUNDS_DATA_DIR": str(tmp_path)})
    assert refused.returncode == 1
    assert refused.stderr == "Error: There is no key yet: make one with `funds log-key`, and set FUNDS_LOG_KEY_FILE.\n"


WRONG_KEYS = {
    "no key": "S3cr-S3cr-S3cr-S3cr",
    "cut": SignerKey.generate(ORIGIN).secret_text()[:-9],
    "another id": SignerKey.generate(ORIGIN).secret_text().replace("example", "samples"),
    "the key of a witness": SignerKey.generate(ORIGIN, KeyKind.WITNESS).secret_text(),
    "a verifier key": str(SignerKey.generate(ORIGIN).verifier_key),
}


@pytest.mark.parametrize("key", WRONG_KEYS.values(), ids=WRONG_KEYS)
@pytest.mark.parametrize("command", [["serve"], ["log-key", "--verifier", "main"]], ids=" ".join)
def test_a_malformed_key_is_refused_in_one_sentence(key: str, command: list[str]) -> None:
    refused = run_funds(*command, settings={"FUNDS_LOG_KEY": key})
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: FUNDS_LOG_KEY: ")
    assert refused.stderr.count("\n") == 1
    assert key[:20] not in refused.stderr
    assert key[-20:] not in refused.stderr


def test_a_witness_with_another_key_is_refused_in_one_sentence() -> None:
    key = SignerKey.generate("witness.example").verifier_key
    refused = run_funds("serve", settings={"FUNDS_LOG_WITNESSES": f"{key} https://witness.example"})
    assert refused.returncode == 1
    assert refused.stderr == "Error: FUNDS_LOG_WITNESSES: The key of a log cannot be that of a witness.\n"


def test_the_embedded_installation_makes_a_key_and_keeps_it(tmp_path: Path) -> None:
    settings = {"FUNDS_DATA_DIR": str(tmp_path / "data"), "FUNDS_PORT": str(free_port())}
    path = tmp_path / "data" / "log.key"
    keys = []
    for start in range(2):
        service = RunningService(settings, tmp_path / f"serve-{start}.log")
        try:
            service.wait_until_ready()
            headers = {"Authorization": f"Bearer {(tmp_path / 'data' / 'admin-token').read_text().strip()}"}
            log = f"{service.url}/v1/ledgers/main/log"
            key = httpx.get(f"{log}/key", headers=headers).text.strip()
            check_checkpoint(_checkpoint(log, headers), key)
            secret = path.read_text().strip()
            assert path.stat().st_mode & 0o777 == 0o600
            told = run_funds("log-key", "--verifier", "main", settings=settings)
            assert told.stdout.strip() == key
        finally:
            assert service.stop() == 0
        assert secret[-20:] not in service.log.read_text()
        keys.append((secret, key))
    assert keys[0] == keys[1]
    path.chmod(0o600)
    path.write_text("S3cr")
    refused = run_funds("log-key", "--verifier", "main", settings=settings)
    assert refused.stderr.startswith(f"Error: The log key in {path} cannot be used: ")
    assert "S3cr" not in refused.stderr


def _checkpoint(log: str, headers: dict[str, str]) -> bytes:
    """The latest checkpoint, once there is one."""
    deadline = time.monotonic() + 30
    while (response := httpx.get(f"{log}/checkpoint", headers=headers)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return response.content
