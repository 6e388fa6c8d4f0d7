"""The manifests of `deploy/kubernetes` are valid, and fit each other, image and configuration."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from daemon.config.loading import load_config
from daemon.web.address import require_private
from daemon.worker.role import RoleName
from tests.tools.paths import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
BASE = FOLDER / "base"
VERSIONS = ("1.29", "1.37")
DOCKERFILE = (ROOT / "deploy" / "docker" / "serving.Dockerfile").read_text(encoding="utf-8")
NOT_RESOURCES = {"config.yaml", "kustomization.yaml"}
USER = 10001


def documents(*paths: Path) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def kustomization(folder: Path) -> dict[str, Any]:
    (values,) = documents(folder / "kustomization.yaml")
    return values


FILES = sorted(path for path in BASE.glob("*.yaml") if path.name not in NOT_RESOURCES)
RESOURCES = [*documents(*FILES, FOLDER / "secrets.example.yaml")]
DEPLOYMENTS = {one["metadata"]["name"]: one for one in RESOURCES if one["kind"] == "Deployment"}
(CRONJOB,) = (one for one in RESOURCES if one["kind"] == "CronJob")
PODS = [
    *(one["spec"]["template"] for one in DEPLOYMENTS.values()),
    CRONJOB["spec"]["jobTemplate"]["spec"]["template"],
]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in RESOURCES if one["kind"] == kind]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_of_the_schema(version: str) -> None:
    for resource in RESOURCES:
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_wrong_key_is_found() -> None:
    resource = {**of_kind("PodDisruptionBudget")[0], "spec": {"maxUnavailabel": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, VERSIONS[-1], strict=True)


def test_the_base_names_all_files() -> None:
    base = kustomization(BASE)
    assert sorted(base["resources"]) == [path.name for path in FILES]
    (generated,) = base["configMapGenerator"]
    assert generated == {"name": "cxrd", "files": ["config.yaml"]}
    assert base["namespace"] == of_kind("Namespace")[0]["metadata"]["name"]
    assert of_kind("Secret")[0]["metadata"] == {"name": "cxrd", "namespace": base["namespace"]}


def configuration(folder: Path) -> Any:
    """Return the configuration, with the secrets of the template in a folder."""
    mounted = "/run/secrets/cxrd"
    text = (BASE / "config.yaml").read_text(encoding="utf-8").replace(mounted, str(folder))
    for name, content in of_kind("Secret")[0]["stringData"].items():
        (folder / name).write_text(content, encoding="utf-8")
        assert f"{folder}/{name}" in text, f"no key names {name}"
    for name in re.findall(rf"{folder}/([\w.]+)", text):
        assert (folder / name).exists(), f"the secret has no {name}"
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def test_the_configuration_is_accepted_and_fits_the_services(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    require_private(config.web)
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind("Service")}
    ports = {"dicom": config.listener.port, "web": config.web.port}
    for name, service in services.items():
        deployment = DEPLOYMENTS[name]
        assert service["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        named = {one["name"]: one["containerPort"] for one in container["ports"]}
        for port in service["ports"]:
            assert named[port["targetPort"]] == ports[port["targetPort"]]
    assert services["cxrd-listener"]["externalTrafficPolicy"] == "Local"
    grace = DEPLOYMENTS["cxrd-listener"]["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert grace >= config.listener.leave_seconds + config.listener.drain_seconds + 15
    # The archives are reached by the ports that the network policy opens.
    opened = {
        port["port"]
        for policy in of_kind("NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }
    assert {peer.port for peer in config.peers} <= opened
    assert {5432, 443, 53} <= opened


def test_labels_and_selectors_match() -> None:
    labels = [pod["metadata"]["labels"] for pod in PODS]
    for deployment in DEPLOYMENTS.values():
        spec = deployment["spec"]
        own = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == own == deployment["metadata"]["labels"]
        (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == own
        assert deployment["metadata"]["name"] == f"{own['app']}-{own['role']}"
    for budget in of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] in labels
    for policy in of_kind("NetworkPolicy"):
        wanted = policy["spec"]["podSelector"]["matchLabels"].items()
        assert any(wanted <= own.items() for own in labels)
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]["name"]
    assert target in DEPLOYMENTS
    assert "replicas" not in DEPLOYMENTS[target]["spec"]  # an upgrade would set them back


def test_every_role_has_its_pods() -> None:
    roles = set()
    for pod in PODS[:-1]:
        (container,) = pod["spec"]["containers"]
        assert container["args"][:-1] == ["serve", "--config", "/etc/cxrd/config.yaml", "--only"]
        here = container["args"][-1].split(",")
        assert here[0] == pod["metadata"]["labels"]["role"]
        assert {"readinessProbe", "startupProbe"} <= container.keys()
        assert ("httpGet" in container["readinessProbe"]) == ("web" in here)
        roles |= set(here)
    assert roles == {str(role) for role in RoleName}


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod["metadata"]["labels"]["role"])
def test_a_pod_has_no_right_beyond_those_of_the_image(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert f"USER {USER}:{USER}" in DOCKERFILE
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert {"requests", "limits"} <= container["resources"].keys()
    volumes = {one["name"] for one in spec["volumes"]}
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert volumes == mounts.keys()
    assert mounts["state"] in DOCKERFILE
    assert mounts["tmp"] == "/tmp"  # noqa: S108 - the path in the pod
    assert f"{mounts['config']}/config.yaml" in DOCKERFILE
    assert container["image"] in {one["name"] for one in kustomization(BASE)["images"]}
    for port in container.get("ports", []):
        assert str(port["containerPort"]) in DOCKERFILE.split("EXPOSE", 1)[1].splitlines()[0]
    for name in ("startupProbe", "readinessProbe"):
        command = container.get(name, {}).get("exec", {}).get("command", [])
        assert all(word in DOCKERFILE for word in command)


def test_the_metric_of_the_scaler_exists() -> None:
    """The adapter makes it of a metric that docs/monitoring.md lists."""
    (adapter,) = documents(FOLDER / "prometheus-adapter.yaml")
    (rule,) = adapter["rules"]["external"]
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for query in (rule["seriesQuery"], rule["metricsQuery"]):
        (name,) = re.findall(r"cxrd_\w+", query)
        assert f"| `{name}` | gauge | kind" in page


def test_the_gpu_overlay_changes_the_analyst_alone() -> None:
    folder = FOLDER / "gpu"
    values = kustomization(folder)
    assert values["resources"] == ["../base"]
    (patch,) = documents(*(folder / one["path"] for one in values["patches"]))
    assert patch["metadata"] == {"name": "cxrd-analyst", "namespace": "cxrd"}
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    (own,) = DEPLOYMENTS["cxrd-analyst"]["spec"]["template"]["spec"]["containers"]
    assert container["name"] == own["name"]
    assert container["image"] == values["images"][0]["name"]
    whole = {**DEPLOYMENTS["cxrd-analyst"]}
    whole["spec"]["template"]["spec"]["containers"] = [{**own, **container}]
    kubernetes_validate.validate(whole, VERSIONS[-1], strict=True)
    gpus = {container["resources"][kind]["nvidia.com/gpu"] for kind in ("requests", "limits")}
    assert gpus == {1}
