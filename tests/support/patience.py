"""Settings under which nothing is given up because the machine is busy: for tests of what happens, not of how soon."""

from typing import Any

from service.settings import PREFIX

PATIENT: dict[str, Any] = {
    "commit_deadline_seconds": 60.0,
    "read_deadline_seconds": 60.0,
    "queue_wait_seconds_max": 60.0,
    "pool_timeout_seconds": 30.0,
    "connect_timeout_seconds": 30.0,
    "statement_timeout_ms": 60_000,
    "lock_timeout_ms": 30_000,
}

PATIENT_ENVIRONMENT: dict[str, Any] = {f"{PREFIX}{name.upper()}": str(value) for name, value in PATIENT.items()}
"""The same for a service that is a process of its own."""
