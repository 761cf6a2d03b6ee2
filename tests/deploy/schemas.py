"""Schemas that packages carry (``deploy/requirements-schemas.txt``): what the files of ``deploy/`` may consist of."""

import importlib.util
import json
from functools import cache
from pathlib import Path

import pytest
from jsonschema.validators import validator_for

from tests.deploy.documents import Document

KUBERNETES = ("1.27", "1.37")
"""The oldest version whose API the manifests keep to, and the newest. What both know, those in between do."""

_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE]-?[0-9]+)?$"
"""The package's schema takes any text: "512MiB" is none that Kubernetes reads."""


def compose_faults(document: Document) -> list[str]:
    """What of ``document`` the compose specification does not describe."""
    return _faults(_carried("check_jsonschema", "builtin_schemas/vendor/compose-spec.json"), document)


def manifest_faults(document: Document, version: str) -> list[str]:
    """What of ``document`` the API of Kubernetes does not have in ``version``: members that it does not know, too."""
    schema = _kubernetes(version)
    group, _, api_version = document["apiVersion"].rpartition("/")
    of = {"group": group, "kind": document["kind"], "version": api_version}
    [name] = [name for name, type_ in schema["$defs"].items() if of in type_.get("x-kubernetes-group-version-kind", ())]
    return _faults(schema | {"$ref": f"#/$defs/{name}"}, document)


@cache
def _kubernetes(version: str) -> Document:
    schema = _carried("kubernetes_validate", f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json")
    schema["$defs"][_QUANTITY] = {"type": ["string", "integer"], "pattern": _QUANTITY_PATTERN}
    return schema


@cache
def _carried(package: str, path: str) -> Document:
    """The schema in a file of ``package``, which is not imported."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed (deploy/requirements-schemas.txt)")
    schema: Document = json.loads((Path(found.origin).parent / path).read_text())
    return schema


def _faults(schema: Document, document: Document) -> list[str]:
    validator = validator_for(schema)(schema)
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(document)]
