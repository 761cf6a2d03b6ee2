"""SQL by hand: pgbench with prepared statements, against a function that does the work of our transfer."""

import re
import resource
import subprocess
import tempfile
from pathlib import Path

from msgspec import Struct

from service.embedded.host import program_directory
from tests.benchmarks.databases import BenchmarkDatabase
from tests.benchmarks.traffic import ACCOUNT_ID, ACCOUNTS, CURRENCY, FIRST_ACCOUNT, ZIPF_EXPONENT, Workload

CLIENTS = (4, 16, 64)

_FUNCTION = Path(__file__).with_name("by_hand.sql")
# PostgreSQL makes identifiers that rise with time from version 18 on; before, who writes SQL by hand writes this, too.
_IDENTIFIERS = """
    DO $do$
    BEGIN
        IF current_setting('server_version_num')::int < 180000 THEN
            CREATE FUNCTION uuidv7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
                SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
                    substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
                    52, 1), 53, 1), 'hex')::uuid
            $$;
        END IF;
    END $do$;
"""
_LAST = ACCOUNTS - 1
_CHOICES: dict[Workload, str] = {
    "uniform": f"\\set debit random(0, {_LAST})\n\\set credit random(0, {_LAST})",
    "zipfian": (
        f"\\set debit random_zipfian(1, {ACCOUNTS}, {ZIPF_EXPONENT}) - 1\n"
        f"\\set credit random_zipfian(1, {ACCOUNTS}, {ZIPF_EXPONENT}) - 1"
    ),
    "hot": f"\\set debit random(0, {_LAST})\n\\set credit 0",
}
_TRANSFER = f"""
\\set debit case when :debit = :credit then (:debit + 1) % {ACCOUNTS} else :debit end + {FIRST_ACCOUNT}
\\set credit :credit + {FIRST_ACCOUNT}
\\set amount random(10, 99)
\\set key_high random(1000000000000000, 9223372036854775807)
\\set key_low random(1000000000000, 9999999999999)
SELECT public.post_transfer(1, 'admin', :key_high || '-' || :key_low,
    ('{ACCOUNT_ID.format("")}' || :debit)::uuid, ('{ACCOUNT_ID.format("")}' || :credit)::uuid, :amount, '{CURRENCY}');
"""
GET_ACCOUNT = f"""
\\set account random({FIRST_ACCOUNT}, {FIRST_ACCOUNT + _LAST})
SELECT * FROM funds.accounts WHERE ledger_id = 1 AND id = ('{ACCOUNT_ID.format("")}' || :account)::uuid;
"""


class HandSample(Struct, frozen=True):
    """What one pgbench run measured; ``client_cpu_seconds`` is pgbench's own."""

    completed: int
    per_second: float
    mean_latency_ms: float
    client_cpu_seconds: float


def install(database: BenchmarkDatabase) -> None:
    """Give ``database`` the function."""
    database.execute(_IDENTIFIERS + _FUNCTION.read_text())


def transfers(workload: Workload) -> str:
    """Return the script that posts transfers."""
    return _CHOICES[workload] + _TRANSFER


def pgbench(database: BenchmarkDatabase, script: str, *, clients: int, seconds: int) -> HandSample:
    """Run ``script`` again and again for ``seconds``, its statements prepared."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [
                program_directory() / "pgbench", "--no-vacuum", "--protocol", "prepared", "--client", str(clients),
                "--jobs", "1", "--time", str(seconds), "--file", file.name, database.url,
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode != 0:
        raise RuntimeError(f"pgbench failed: {run.stderr}")
    failed = _number(r"number of failed transactions: (\d+)", run.stdout)
    if failed:
        raise RuntimeError(f"pgbench: {failed:.0f} transactions failed")
    return HandSample(
        completed=int(_number(r"number of transactions actually processed: (\d+)", run.stdout)),
        per_second=_number(r"tps = ([\d.]+)", run.stdout),
        mean_latency_ms=_number(r"latency average = ([\d.]+) ms", run.stdout),
        client_cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"pgbench did not say {pattern}: {text}"
    return float(found[1])
