import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from service.telemetry.logs import configure_logging

logger = logging.getLogger("service.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_line_is_one_json_object() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    logger.info("posted %d transfers", 3, extra={"batch": 3, "latency_ms": 1.5})
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert datetime.fromisoformat(fields.pop("time")).utcoffset() == timedelta(0)
    assert fields == {
        "level": "info",
        "logger": "service.test",
        "message": "posted 3 transfers",
        "batch": 3,
        "latency_ms": 1.5,
    }


def test_line_breaks_and_odd_values_stay_inside_the_object() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    logger.info("two\nlines", extra={"path": ValueError("x\ny")})
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "two\nlines"


def test_an_exception_is_a_field() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        logger.exception("failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"].startswith("Traceback")


def test_an_extra_field_cannot_pose_as_a_standard_one() -> None:
    stream = io.StringIO()
    configure_logging("info", stream)
    logger.info("true", extra={"level": "critical", "time": "never"})
    fields = json.loads(stream.getvalue())
    assert fields["level"] == "info"
    assert fields["time"] != "never"


def test_the_level_is_obeyed_and_may_change() -> None:
    stream = io.StringIO()
    configure_logging("warning", stream)
    logger.info("quiet")
    configure_logging("info", stream)
    logger.info("heard once")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["heard once"]


def test_a_terminal_gets_lines_for_people() -> None:
    stream = Terminal()
    configure_logging("info", stream)
    logger.info("posted", extra={"batch": 3})
    logger.error("failed")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("info    service.test: posted batch=3")
    assert second.startswith("\033[31m")
