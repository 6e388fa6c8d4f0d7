"""`cxrd check`: the table of sources and destinations."""

import re
from pathlib import Path

import pytest
import yaml

from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.sections.roles import ListenerConfig
from daemon.config.sections.web import WebConfig
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.preflight.checks import quick_checks
from daemon.preflight.routes import check_routes
from tests.tools.paths import ROOT
from tests.tools.ports import free_port

pytestmark = pytest.mark.network


def peer(name: str, *, sends: bool = True, receives: bool = True, **keys: object) -> PeerConfig:
    return PeerConfig.model_validate(
        {
            "name": name,
            "ae_title": name.upper(),
            "host": "127.0.0.1",
            "port": 104,
            "sends": sends,
            "receives": [Product.REPORT] if receives else [],
            **keys,
        }
    )


def lines(*peers: PeerConfig) -> list[str]:
    return [
        f"{result.word} {result.name}: {result.detail}"
        for result in check_routes(Config(peers=peers))
    ]


def test_each_sender_is_shown_with_its_destinations() -> None:
    modality = peer("modality", receives=False, source="north")
    assert lines(modality, peer("north"), peer("south"), peer("research", sends=False)) == [
        "ok results of north: modality (MODALITY), north (NORTH) -> north, research",
        "ok results of south: south (SOUTH) -> south, research",
    ]


def test_the_example_of_two_hospitals_gives_the_table_of_its_page() -> None:
    page = (ROOT / "docs" / "routing.md").read_text(encoding="utf-8")
    shown, example = re.findall(r"```(?:yaml)?\n(.+?)\n```", page, re.DOTALL)
    peers = [PeerConfig.model_validate(values) for values in yaml.safe_load(example)["peers"]]
    results = check_routes(Config(peers=tuple(peers)))
    printed = [f"{result.word:<7} {result.name}: {result.detail}" for result in results]
    assert printed == shown.splitlines()


def test_results_of_a_hospital_at_another_are_a_warning() -> None:
    *_, first, second = lines(
        peer("north", results_of="all"), peer("south", results_of=["north", "south"])
    )
    assert first.startswith("warning results of north: south is another sender, and gets names")
    assert second.startswith("warning results of south: north is another sender, and gets names")


def test_results_without_a_destination_beside_one_are_a_warning() -> None:
    first, *_ = lines(peer("modality", receives=False), peer("pacs", results_of="own"))
    assert first == (
        "warning results of modality: modality (MODALITY) -> no peer: they stay in the store"
    )


def test_host_names_of_one_address_fail() -> None:
    first = peer("north", ae_title="ORTHANC", receives=False)
    second = peer("south", ae_title="ORTHANC", receives=False, host="localhost")
    said, *_ = lines(first, second)
    assert said.startswith("FAILED peers: ORTHANC at 127.0.0.1 is two sources (north, south)")
    elsewhere = peer("south", ae_title="ORTHANC", receives=False, host="127.0.0.2")
    assert all(line.startswith("ok") for line in lines(first, elsewhere))


def test_no_sender_fails() -> None:
    first, _ = lines()
    assert first.startswith("FAILED peers: no peer has `sends: true`")


def test_defaults_pass_with_a_hint(tmp_path: Path, bundle: Path) -> None:
    config = Config(
        data_dir=tmp_path,
        model=ModelConfig(bundle=str(bundle), threads=1),
        listener=ListenerConfig(port=free_port()),
        web=WebConfig(port=free_port()),
    )
    results = list(quick_checks(config))
    assert {result.word for result in results} == {"ok"}
    assert "To deliver them, set a destination" in results[-1].detail
