"""``deploy/monitoring``: alerts and the dashboard name what the service exposes; the runbook has a section an alert."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from service.app import create_app
from service.cli import main
from service.settings import Settings
from service.telemetry.instruments import METRICS, Histogram
from tests.deploy.documents import Document, read, settings_of, unknown_settings
from tests.deploy.promql import grouped_by, selectors
from tests.support.servers import ROOT

PROMTOOL = shutil.which("promtool")
MONITORING = ROOT / "deploy" / "monitoring"
ALERTS: list[Document] = [rule for group in read("monitoring/alerts.yaml")["groups"] for rule in group["rules"]]
RUNBOOK = "service/docs/runbook.md"
SECTIONS = dict(re.findall(r"(?m)^## (Funds\w+)\n\n\*(page|ticket)\.\* ", (ROOT / RUNBOOK).read_text()))

COLUMNS = 24
"""Of Grafana's grid."""
OF_SCRAPES = {"job", "instance"}
"""The labels that Prometheus adds."""

Known = dict[str, dict[str, set[str]]]
"""The values of each label, by metric; none where they are not known."""


@pytest.fixture(scope="module")
def known() -> Known:
    """What a service exposes; of HTTP requests, only the application knows the labels. Nothing is connected."""
    create_app(Settings(database_url="postgresql://nobody@localhost/nothing", metrics=True, operations_port=9000))
    found: Known = {"up": {}}
    for metric in (one for one in METRICS if not one.name.startswith("test_")):
        values = zip(*vars(metric)["_labels"], strict=True)
        labels = dict(zip(metric.label_names, map(set, values), strict=True))
        if isinstance(metric, Histogram):
            found |= {f"{metric.name}_{part}": labels for part in ("count", "sum")}
            found[f"{metric.name}_bucket"] = labels | {"le": set()}
        else:
            found[metric.name] = labels
    return found


DASHBOARD: Document = json.loads((MONITORING / "grafana" / "funds.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target["expr"].replace("$__rate_interval", "1m"), target["legendFormat"], id=target["legendFormat"])
    for panel in PANELS
    for target in panel["targets"]
]
EXPRESSIONS = [
    *(pytest.param(alert["expr"], id=alert["alert"]) for alert in ALERTS),
    *(pytest.param(target.values[0], id=target.id) for target in TARGETS),
]


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


def test_what_the_runbook_names_is_there() -> None:
    """Settings, metrics, commands, and what the log says."""
    page = (ROOT / RUNBOOK).read_text()
    assert unknown_settings(re.findall(r"FUNDS_[A-Z_]+[A-Z]", page)) == []
    for path in re.findall(r"`funds ([a-z][a-z-]*(?: [a-z][a-z-]*)*)", page):
        command: click.Command | None = main
        for name in path.split():
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), name)
        assert command is not None, path
    sources = "".join(file.read_text() for file in (ROOT / "service").rglob("*.py"))
    said = set(re.findall(r"`((?:a|the) [a-z ]+)`", page))
    assert said
    assert [text for text in said if f'"{text}"' not in sources] == []


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_says_what_it_is_about(alert: Document) -> None:
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"{RUNBOOK}#{alert['alert'].lower()}"
    labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(alert["annotations"])))
    by = grouped_by(alert["expr"])
    left = by if "by (" in alert["expr"] else labels
    assert labels <= left, "what is added up has no such label any more"


@pytest.mark.parametrize(("expression", "legend"), TARGETS)
def test_a_legend_tells_series_apart(expression: str, legend: str, known: Known) -> None:
    labels = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert labels <= OF_SCRAPES.union(*(known[metric] for metric, _ in selectors(expression)))
    if "by (" in expression:
        assert labels == grouped_by(expression) - {"le"}


def test_the_dashboard_goes_anywhere() -> None:
    """It asks whichever Prometheus is chosen, and nobody else; ids are its own, and no panel lies on another."""
    assert [(one["name"], one["type"]) for one in DASHBOARD["templating"]["list"]] == [("datasource", "datasource")]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    assert "http:" not in json.dumps(DASHBOARD)
    assert "https:" not in json.dumps(DASHBOARD)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < COLUMNS


def test_the_dashboard_shows_every_metric(known: Known) -> None:
    shown = {metric for expression in TARGETS for metric, _ in selectors(str(expression.values[0]))}
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown} == names


def test_prometheus_scrapes_the_instances_where_their_metrics_are() -> None:
    config = read("monitoring/prometheus.yaml")
    [job] = config["scrape_configs"]
    services = read("compose.yaml")["services"]
    listeners = {
        f"{name}:{settings_of(service['environment']).operations_port}"
        for name, service in services.items()
        if name.startswith("service-") and settings_of(service["environment"]).metrics
    }
    assert (job["job_name"], {*job["static_configs"][0]["targets"]}) == ("funds", listeners)
    assert len(listeners) == 2
    folder = "/etc/prometheus"
    mounted = {volume.split(":")[0]: volume.split(":")[1] for volume in services["prometheus"]["volumes"]}
    assert mounted["./monitoring/prometheus.yaml"] == f"{folder}/prometheus.yaml"
    assert [mounted[f"./monitoring/{file}"] for file in config["rule_files"]] == [f"{folder}/alerts.yaml"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    grafana = read("compose.yaml")["services"]["grafana"]
    [source] = read("monitoring/grafana/datasources.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = read("monitoring/grafana/dashboards.yaml")["providers"]
    assert f"./monitoring/grafana/funds.json:{provider['options']['path']}/funds.json:ro" in grafana["volumes"]


def test_pods_are_found_by_what_their_manifests_say() -> None:
    pod = read("kubernetes/deployment.yaml")["spec"]["template"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    [example] = re.findall(r"(?s)```yaml\n(.*?)```", (MONITORING / "README.md").read_text())
    [job] = YAML(typ="safe").load(example)["scrape_configs"]
    component, port = job["relabel_configs"][0]["regex"].split(";")
    assert job["job_name"] == "funds"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == component
    assert port in ports


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_everything(tmp_path: Path) -> None:
    # JSON is YAML
    rules = [{"record": f"funds:checked{number}", "expr": one.values[0]} for number, one in enumerate(EXPRESSIONS)]
    wrapped = tmp_path / "expressions.yaml"
    wrapped.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
    for what, file in (
        ("rules", MONITORING / "alerts.yaml"),
        ("rules", wrapped),
        ("config", MONITORING / "prometheus.yaml"),
    ):
        command = [str(PROMTOOL), "check", what, str(file)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr
