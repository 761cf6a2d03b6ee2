"""The manifests of ``deploy/kubernetes``: they fit each other, the image, and what the service serves and reads."""

import re
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy

import pytest
from ruamel.yaml import YAML

from service.api.resources.health import HealthController
from service.settings import Settings
from tests.deploy.documents import DEPLOY, Document, read, settings_of, stop_seconds_max, unknown_settings
from tests.deploy.schemas import KUBERNETES, manifest_faults

BASE = "kubernetes"
KUBECTL = shutil.which("kubectl")
SECRETS = "/run/secrets/funds"


def resources(folder: str) -> dict[str, Document]:
    """The manifests of a kustomization by kind; every file of its folder is one of them."""
    listed = read(f"{folder}/kustomization.yaml")["resources"]
    there = {path.name for path in (DEPLOY / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed) == there
    return {document["kind"]: document for document in (read(f"{folder}/{name}") for name in listed)}


SERVICE = resources(BASE)
MIGRATION = resources(f"{BASE}/migration")
MANIFESTS = [pytest.param(one, id=one["kind"]) for one in (*SERVICE.values(), *MIGRATION.values())]
DEPLOYMENT = SERVICE["Deployment"]
PODS = {"service": DEPLOYMENT["spec"]["template"], "migration": MIGRATION["Job"]["spec"]["template"]}
POLICIES = {"service": SERVICE["NetworkPolicy"]["spec"], "migration": MIGRATION["NetworkPolicy"]["spec"]}


def container_of(template: Document) -> Document:
    [container] = template["spec"]["containers"]
    found: Document = container
    return found


def environment() -> dict[str, str]:
    """What the pods of the service are given."""
    [generator] = read(f"{BASE}/kustomization.yaml")["configMapGenerator"]
    assert container_of(PODS["service"])["envFrom"] == [{"configMapRef": {"name": generator["name"]}}]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def settings() -> Settings:
    return settings_of(environment())


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_kubernetes_knows_every_member_of_a_manifest(manifest: Document, version: str) -> None:
    assert manifest_faults(manifest, version) == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda pod: pod.update(automountServiceAccountTokens=False), "'automountServiceAccountTokens' was unexpected"),
        (lambda pod: pod["containers"][0]["ports"][0].update(containerPort="8000"), "'8000' is not of type 'integer'"),
        (lambda pod: pod["containers"][0].pop("name"), "'name' is a required property"),
        (lambda pod: pod["containers"][0]["resources"]["limits"].update(memory="512MiB"), "'512MiB' does not match"),
    ],
    ids=["a member that there is not", "a text for a number", "a member that is missing", "no quantity"],
)
def test_what_is_wrong_with_a_manifest_is_found(damage: Callable[[Document], object], fault: str, version: str) -> None:
    damaged = deepcopy(DEPLOYMENT)
    damage(damaged["spec"]["template"]["spec"])
    [found] = manifest_faults(damaged, version)
    assert fault in found


def test_every_setting_is_one_of_the_service() -> None:
    given = container_of(PODS["migration"])["env"]
    assert unknown_settings([*environment(), *(one["name"] for one in given)]) == []
    files = [value for name, value in environment().items() if name.endswith("_FILE")]
    files += [one["value"] for one in given]
    assert {path.rpartition("/")[0] for path in files} == {SECRETS}


def test_probes_ask_what_is_served_where_load_does_not_reach() -> None:
    container = container_of(PODS["service"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings().port, "operations": settings().operations_port}
    assert {settings().host, settings().operations_host} == {"0.0.0.0"}
    assert served_paths() == {"/health/live", "/health/ready"}
    for probe, path in (("startupProbe", "live"), ("livenessProbe", "live"), ("readinessProbe", "ready")):
        assert container[probe]["httpGet"] == {"path": f"/health/{path}", "port": "operations"}
    assert container["readinessProbe"]["timeoutSeconds"] > 1, "its checks take more than a second"


def served_paths() -> set[str]:
    handlers = [vars(HealthController)[name] for name in ("get_liveness", "get_readiness")]
    return {f"{HealthController.path}{path}" for handler in handlers for path in handler.paths}


def test_a_stop_has_the_time_to_drain() -> None:
    container = container_of(PODS["service"])
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    grace = PODS["service"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= int(seconds) + stop_seconds_max(settings())
    readiness = container["readinessProbe"]
    noticed = readiness["periodSeconds"] * readiness["failureThreshold"]
    assert settings().drain_delay_seconds >= noticed


@pytest.mark.parametrize("name", PODS)
def test_pods_may_nothing_and_write_nothing(name: str) -> None:
    pod, container = PODS[name]["spec"], container_of(PODS[name])
    user = int(re.findall(r"(?m)^USER (\d+):\d+$", (DEPLOY / "Containerfile").read_text())[-1])
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for kind in ("requests", "limits"):
        assert container["resources"][kind]["memory"] == container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]


@pytest.mark.parametrize("name", PODS)
def test_pods_have_no_variables_of_other_services(name: str) -> None:
    """The service ``funds`` would be FUNDS_PORT and FUNDS_SERVICE_HOST to every pod beside it."""
    assert SERVICE["Service"]["metadata"]["name"] == "funds"
    assert unknown_settings(["FUNDS_SERVICE_HOST"])
    assert PODS[name]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", PODS)
def test_what_is_mounted_is_there(name: str) -> None:
    volumes = {volume["name"]: volume for volume in PODS[name]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container_of(PODS[name])["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == set(volumes)
    assert mounts[SECRETS]["readOnly"] is True
    secret = volumes[mounts[SECRETS]["name"]]["secret"]
    assert secret == {"secretName": {"service": "funds", "migration": "funds-owner"}[name], "defaultMode": 0o440}
    assert volumes[mounts["/tmp"]["name"]]["emptyDir"]["sizeLimit"]


def test_workbooks_have_room_on_a_disk() -> None:
    """They are made whole in /tmp: in memory they would be taken from the container's, or find no room."""
    [tmp] = [volume["emptyDir"] for volume in PODS["service"]["spec"]["volumes"] if volume["name"] == "tmp"]
    assert tmp.keys() == {"sizeLimit"}
    assert container_of(PODS["service"])["resources"]["requests"]["ephemeral-storage"] == tmp["sizeLimit"]


def test_the_schema_is_changed_by_the_job_alone() -> None:
    assert container_of(PODS["service"])["args"] == ["serve", "--no-migrate"]
    assert container_of(PODS["migration"])["args"] == ["migrate"]
    assert PODS["migration"]["spec"]["restartPolicy"] == "Never"


def test_everything_selects_the_pods_that_it_is_for() -> None:
    labels = PODS["service"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert SERVICE["Service"]["spec"]["selector"] == labels
    assert SERVICE["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    [spread] = PODS["service"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    assert spread["matchLabelKeys"] == ["pod-template-hash"], "pods of the version before do not count"
    for name, template in PODS.items():
        assert POLICIES[name]["podSelector"]["matchLabels"] == template["metadata"]["labels"]
    assert PODS["migration"]["metadata"]["labels"] != labels, "nobody sends requests to a migration"
    assert PODS["service"]["spec"]["serviceAccountName"] == SERVICE["ServiceAccount"]["metadata"]["name"]


def test_one_instance_is_always_there() -> None:
    budget = SERVICE["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert DEPLOYMENT["spec"]["replicas"] > budget
    assert DEPLOYMENT["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_only_callers_come_in_and_only_the_database_and_names_are_asked() -> None:
    let_in = {
        tuple(selector["podSelector"]["matchLabels"].items()): [port["port"] for port in rule["ports"]]
        for rule in POLICIES["service"]["ingress"]
        for selector in rule["from"]
    }
    assert let_in == {
        (("funds-client", "true"),): [settings().port],
        (("funds-metrics", "true"),): [settings().operations_port],
    }
    assert POLICIES["migration"]["ingress"] == []
    for policy in POLICIES.values():
        assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
        asked = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
        assert asked == {("UDP", 53), ("TCP", 53), ("TCP", 5432)}
    [service_port] = SERVICE["Service"]["spec"]["ports"]
    assert service_port["targetPort"] == "http"


def test_no_image_is_made_up() -> None:
    """The image and its digest are the overlay's: README.md."""
    assert {container_of(template)["image"] for template in PODS.values()} == {"funds"}
    for file in (DEPLOY / BASE).rglob("*"):
        assert file.is_dir() or not re.search(r"sha256:[0-9a-f]", file.read_text()), file


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", [BASE, f"{BASE}/migration"])
def test_kustomize_makes_of_them_what_is_meant(folder: str) -> None:
    """Without a cluster: that names of generated parts are replaced wherever they stand, and nothing is left out."""
    built = subprocess.run(
        [str(KUBECTL), "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=True
    )
    assert built.stderr == "", "what is deprecated is told there"
    made = {document["kind"]: document for document in YAML(typ="safe").load_all(built.stdout)}
    assert made.keys() - {"ConfigMap"} == resources(folder).keys()
    assert [fault for one in made.values() for fault in manifest_faults(one, KUBERNETES[-1])] == []
    if folder == BASE:
        [source] = container_of(made["Deployment"]["spec"]["template"])["envFrom"]
        assert source["configMapRef"]["name"] == made["ConfigMap"]["metadata"]["name"]
        assert made["ConfigMap"]["data"] == environment()
