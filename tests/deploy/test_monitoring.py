"""``deploy/monitoring``: alerts name what the service exposes, and the runbook has a section for each."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from service.telemetry.instruments import METRICS, Histogram
from tests.deploy.documents import Document, read
from tests.deploy.promql import grouped_by, selectors
from tests.support.servers import ROOT

PROMTOOL = shutil.which("promtool")
ALERTS: list[Document] = [rule for group in read("monitoring/alerts.yaml")["groups"] for rule in group["rules"]]
RUNBOOK = "service/docs/runbook.md"
SECTIONS = dict(re.findall(r"(?m)^## (Funds\w+)\n\n\*(page|ticket)\.\* ", (ROOT / RUNBOOK).read_text()))

OF_SCRAPES = {"job", "instance"}
"""The labels that Prometheus adds."""

Known = dict[str, dict[str, set[str]]]
"""The values of each label, by metric; none where they are not known."""


@pytest.fixture(scope="module")
def known() -> Known:
    """What a service exposes; of HTTP requests, only the application knows the labels. Nothing is connected."""
    create_app(Settings(database_url="postgresql://nobody@localhost/nothing", metrics=True, operations_port=9000))
    found: Known = {"up": {}}
    for metric in METRICS:
        values = zip(*vars(metric)["_labels"], strict=True)
        labels = dict(zip(metric.label_names, map(set, values), strict=True))
        if isinstance(metric, Histogram):
            found |= {f"{metric.name}_{part}": labels for part in ("count", "sum")}
            found[f"{metric.name}_bucket"] = labels | {"le": set()}
        else:
            found[metric.name] = labels
    return found


EXPRESSIONS = [pytest.param(alert["expr"], id=alert["alert"]) for alert in ALERTS]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_exposed(expression: str, known: Known) -> None:
    asked = list(selectors(expression))
    assert asked
    labels = set(OF_SCRAPES)
    for metric, matchers in asked:
        assert metric in known, metric
        labels |= known[metric].keys()
        for matcher in matchers:
            if matcher.label not in OF_SCRAPES:
                assert matcher.is_about(known[metric][matcher.label]), (metric, matcher)
    assert grouped_by(expression) <= labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_job_is_named(expression: str) -> None:
    """What other programs expose under the same names is none of ours."""
    for metric, matchers in selectors(expression):
        assert [one.value for one in matchers if one.label == "job"] == ["funds"], metric


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    assert {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS} == SECTIONS
    assert len(SECTIONS) == len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_says_what_it_is_about(alert: Document) -> None:
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"{RUNBOOK}#{alert['alert'].lower()}"
    labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    by = grouped_by(alert["expr"])
    left = by if "by (" in alert["expr"] else labels
    assert labels <= left, "what is added up has no such label any more"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    # JSON is YAML
    rules = [{"record": f"funds:checked{number}", "expr": one.values[0]} for number, one in enumerate(EXPRESSIONS)]
    wrapped = tmp_path / "expressions.yaml"
    wrapped.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
    for file in (ROOT / "deploy" / "monitoring" / "alerts.yaml", wrapped):
        checked = subprocess.run(
            [str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
