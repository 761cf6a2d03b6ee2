"""``python -m service.proofs`` and ``funds verify-…``: their answers and exit codes."""

import io
import json
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from service import cli
from service.proofs.command import FILE_BYTES_MAX, main
from tests.proofs.logs import Log
from tests.support.servers import ROOT

LOG = Log(20)
WITNESS, OTHER_WITNESS = (str(key.verifier_key) for key in LOG.witnesses[:2])
RECEIPT = ("verify-receipt", "entry", "receipt", "--key", "key")
CONSISTENCY = ("verify-consistency", "old", "new", "proof", "--key", LOG.vkey)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the texts of a log."""
    folder = tmp_path_factory.mktemp("log")
    texts = {
        "receipt": LOG.receipt(13, 20, witnesses=1),
        "old": str(LOG.checkpoint(7)),
        "new": str(LOG.checkpoint(20)),
        "proof": LOG.proof(7, 20),
        "key": f"{LOG.vkey}\n",
        "not-utf-8": "…",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "not-utf-8").write_bytes(b"\xff")
    answer = {"entry": LOG.entries[13].decode("latin-1"), "receipt": texts["receipt"]}
    (folder / "answer").write_text(json.dumps(answer), encoding="utf-8")
    (folder / "entry").write_bytes(LOG.entries[13])
    with (folder / "long").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    return folder


@pytest.fixture
def run(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in that folder: exit code, standard output, standard error."""
    monkeypatch.chdir(files)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments, "funds")
        except SystemExit as ended:
            code = int(str(ended.code))
        return code, *capsys.readouterr()

    return call


def test_a_receipt(run: Run) -> None:
    code, told, _ = run(*RECEIPT)
    assert (code, told) == (0, f"Proven: the entry is number 13 (from 0) of the 20 entries of {LOG.key.name!r}.\n")
    code, told, _ = run(*RECEIPT, "--witness", WITNESS, "--json")
    assert code == 0
    seen = [{"name": "witness-1.example", "time": 1_764_000_000}]
    checkpoint = {"origin": LOG.key.name, "size": 20, "root": b64encode(LOG.tree.root(20)).decode(), "cosigners": seen}
    assert json.loads(told) == {"proven": True, "index": 13, "checkpoint": checkpoint}
    _, told, _ = run(*RECEIPT, "--witness", WITNESS)
    assert told.endswith(", cosigned by witness-1.example at 2025-11-24 16:00:00Z.\n")


def test_the_answer_of_the_service_is_enough(run: Run) -> None:
    assert run("verify-receipt", "answer", "--key", "key") == run(*RECEIPT)


def test_growth(run: Run) -> None:
    code, told, _ = run(*CONSISTENCY)
    assert code == 0
    assert told == f"Proven: the first 7 entries are the same in the 20 entries of {LOG.key.name!r}.\n"
    code, told, _ = run(*CONSISTENCY, "--json")
    assert (code, json.loads(told)["old"]["size"], json.loads(told)["new"]["size"]) == (0, 7, 20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify-receipt", "receipt", "receipt", "--key", "key"), "does not prove this entry"),
        (("verify-receipt", "entry", "new", "--key", "key"), "does not begin with the line"),
        (("verify-receipt", "entry", "not-utf-8", "--key", "key"), "receipt is not UTF-8"),
        (
            (*RECEIPT, "--witness", WITNESS, "--witness", OTHER_WITNESS),
            "by 1 of the trusted witnesses",
        ),
        ((*RECEIPT, "--origin", "other.example"), "no key is trusted"),
        (("verify-receipt", "entry", "--key", "key"), "the file must be the service's answer"),
        (("verify-consistency", "new", "old", "proof", "--key", "key"), "exchanged"),
    ],
)
def test_what_is_not_proven(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, told, _ = run(*arguments)
    assert code == 1
    assert told.startswith("Not proven. ")
    assert said in told
    code, told, _ = run(*arguments, "--json")
    answer = json.loads(told)
    assert (code, answer["proven"]) == (1, False)
    assert said in answer["reason"]


def test_fewer_witnesses_than_are_known(run: Run) -> None:
    assert run(*RECEIPT, "--witness", WITNESS, "--witness", OTHER_WITNESS, "--witnesses-min", "1")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "required: COMMAND"),
        (("verify",), "invalid choice"),
        (("verify-receipt", "entry", "receipt"), "required: --key"),
        ((*RECEIPT, "more"), "unrecognized arguments: more"),
        (("verify-receipt", "entry", "absent", "--key", "key"), "absent: No such file"),
        (("verify-receipt", "entry", ".", "--key", "key"), ".: Is a directory"),
        (("verify-receipt", "entry", "receipt", "--key", "absent"), "absent: No such file"),
        (("verify-receipt", "entry", "receipt", "--key", "entry"), "A verifier key is"),
        (("verify-receipt", "entry", "receipt", "--key", WITNESS), "cannot be that of a log"),
        (("verify-receipt", "-", "-", "--key", "key"), "can be one of the files only"),
        (("verify-receipt", "long", "receipt", "--key", "key"), "longer than"),
        ((*RECEIPT, "--witnesses-min", "1"), "1 of 0 witnesses cannot be"),
        ((*RECEIPT, "--witnesses-min", "many"), "invalid int value"),
    ],
)
def test_wrong_use(run: Run, arguments: tuple[str, ...], said: str) -> None:
    code, told, error = run(*arguments)
    assert (code, told) == (2, "")
    assert said in error


def test_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LOG.entries[13])))
    assert run("verify-receipt", "-", "receipt", "--key", LOG.vkey)[0] == 0


@pytest.mark.parametrize(("arguments", "code"), [
    (RECEIPT, 0), (CONSISTENCY, 0), ((*CONSISTENCY, "--json"), 0), (RECEIPT[:3], 2),
    (("verify-receipt", "key", "receipt", "--key", "key"), 1), (("verify-consistency", "--help"), 0),
])  # fmt: skip
def test_the_same_as_a_command_of_funds(run: Run, arguments: tuple[str, ...], code: int) -> None:
    expected = run(*arguments)
    done = CliRunner().invoke(cli.main, arguments)
    assert (done.exit_code, done.stdout, done.stderr) == expected
    assert done.exit_code == code


def test_nothing_else_of_the_service_is_needed(files: Path, tmp_path: Path) -> None:
    package = tmp_path / "service"
    shutil.copytree(ROOT / "service" / "proofs", package / "proofs")
    (package / "__init__.py").touch()
    command = (sys.executable, "-m", "service.proofs", *RECEIPT[:1], *(str(files / name) for name in RECEIPT[1:3]))
    done = subprocess.run(
        [*command, "--key", LOG.vkey], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Proven: the entry is number 13")
