"""The section `dicomweb`: what it refuses, and what it means for routing and rules."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.config.settings import Config
from daemon.errors import ConfigError

TOKEN = "a-token-of-enough-characters"  # noqa: S105 - of a test
DIGEST = "AB:" * 31 + "AB"
WARD = {"name": "ward", "token": TOKEN, "stores": True}
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def config_of(*clients: dict[str, Any], **more: Any) -> Config:
    return Config.model_validate(
        {"dicomweb": {"clients": clients, **more.pop("dicomweb", {})}, **more}
    )


def refusal(tmp_path: Path, *clients: dict[str, Any], **more: Any) -> str:
    """Return the line with which a file is refused."""
    values = {"dicomweb": {"clients": list(clients), **more.pop("dicomweb", {})}, **more}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_there_are_no_clients_unless_they_are_listed() -> None:
    assert Config().dicomweb.clients == ()


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"name": "a", "stores": True}, "could be anyone"),
        ({"name": "a", "token": TOKEN}, "neither stores nor reads"),
        ({"name": "a", "token": "short", "stores": True}, "at least 20"),
        ({"name": "a", "token": TOKEN, "token_file": "a", "stores": True}, "not both"),
        ({"name": "a", "hosts": ["192.0.2.7"], "reads": "own"}, "does not identify it"),
        ({**WARD, "hosts": ["0.0.0.0/0"]}, "is every host"),
        ({**WARD, "hosts": ["10.1.0.1/16"]}, "must be an address or a network"),
        ({**WARD, "reads": "all"}, "must be own, or a list"),
        ({**WARD, "reads": ["elsewhere"]}, "the sources are: storescu, ward"),
        ({"name": "a", "token": TOKEN, "reads": "own"}, "reads 'a', which is the source of no"),
        (
            {"name": "a", "token": TOKEN, "reads": ["ward"], "priority": "stat"},
            "has priority, but stores no films",
        ),
        ({**WARD, "name": "a@b"}, "cannot be its source"),
        ({**WARD, "name": "STORESCU", "source": "s"}, "has the AE title of a peer"),
        ({**WARD, "certificate_sha256": [DIGEST]}, "set dicomweb.ca"),
        ({**WARD, "storse": True}, "did you mean dicomweb.clients.0.stores"),
    ],
)
def test_a_client_that_cannot_be_meant_is_refused(
    tmp_path: Path, client: dict[str, Any], words: str
) -> None:
    assert words in refusal(tmp_path, client)


def test_clients_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    assert "two clients are called 'ward'" in refusal(tmp_path, WARD, WARD)
    hosts = [{"name": name, "hosts": ["10.1.0.0/16"], "stores": True} for name in ("a", "b")]
    assert "hosts in common" in refusal(tmp_path, *hosts)
    shown = [{"name": name, "certificate_sha256": [DIGEST], "stores": True} for name in ("a", "b")]
    assert "same certificate" in refusal(tmp_path, *shown, dicomweb={"ca": "ca.pem"})
    assert "no client has certificate_sha256" in refusal(tmp_path, WARD, dicomweb={"ca": "ca.pem"})


def test_results_of_a_client_are_routed_like_those_of_a_peer() -> None:
    everything = {**PACS, "receives": ["report"]}
    own = {**PACS, "name": "own", "receives": ["report"], "results_of": ["ward"]}
    both = {**PACS, "name": "both", "sends": True, "receives": ["report"]}
    assert config_of(WARD, peers=[everything]).routing.destinations("ward") == ("pacs",)
    assert config_of(WARD, peers=[own]).routing.destinations("ward") == ("own",)
    assert config_of(WARD, peers=[both]).routing.destinations("ward") == ("both",)
    shared = config_of({**WARD, "source": "both"}, peers=[both])
    assert shared.routing.table == {"both": ("both",)}


def test_rules_of_a_client_are_those_of_its_films() -> None:
    rules = {"minimum_age_years": 18}
    config = config_of({**WARD, "rules": rules}, {**WARD, "name": "other", "token": TOKEN + "2"})
    found = {name: one.minimum_age_years for name, one in config.rules_by_sender.items()}
    assert found == {"STORESCU": None, "ward": 18, "other": None}


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    client = {"name": "ward", "token_file": "ward.token", "stores": True}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"dicomweb": {"clients": [client]}}))
    assert list(load_config(path).dicomweb.token_files) == [tmp_path / "ward.token"]
