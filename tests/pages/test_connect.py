"""docs/connect.md: its settings connect the node and a real Orthanc, both ways."""

import json
import re
from pathlib import Path

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.preflight.checks import quick_checks
from tests.builders.images.films import film
from tests.servers.dicom.orthanc import running_orthanc
from tests.servers.running import RunningDaemon
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

PAGE = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
PEER, NODE = "192.0.2.7", "192.0.2.10"
"""The addresses of the examples."""


def example(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/connect.md has no example {name}"
    return found[1].replace(PEER, HOST).replace(NODE, HOST)


def test_orthanc_sends_each_film_and_gets_the_results_by_the_examples(
    bundle: Path, tmp_path: Path
) -> None:
    script = tmp_path / "cxrd.lua"
    script.write_text(example("orthanc: script"), encoding="utf-8")
    settings = {**json.loads(example("orthanc: settings")), "LuaScripts": [str(script)]}
    node_port = settings["DicomModalities"]["cxrd"]["Port"] = free_port()
    peers = yaml.safe_load(example("orthanc: peer"))["peers"]
    with running_orthanc(tmp_path, settings) as orthanc:
        peers[0]["port"] = orthanc.dicom_port
        changes = {"peers": peers, "listener": {"port": node_port}}
        with RunningDaemon(tmp_path / "node", bundle, 1, changes) as daemon:
            assert orthanc.call("/modalities/cxrd/echo", b"{}") == {}
            checked = [one.detail for one in quick_checks(load_config(daemon.config)) if one.passed]
            assert "orthanc answers and takes everything proposed" in checked
            orthanc.call("/instances", film("connected", heart_failure=True))

            def modalities() -> set[str]:
                series = orthanc.call("/series?expand")
                return {each["MainDicomTags"]["Modality"] for each in series}

            wait_until(lambda: modalities() == {"CR", "OT", "SR"}, "the results are in Orthanc")
            # A result that came back would have a row of its own.
            assert daemon.log.count("instance 1 from ORTHANC") == 1
            assert "instance 2 from ORTHANC" not in daemon.log
