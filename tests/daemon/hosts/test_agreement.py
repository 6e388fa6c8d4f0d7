"""The digests of a configuration: what hosts must have in common, without secrets and places."""

from pathlib import Path
from typing import Any

import pytest

from daemon.config.loading import known_keys
from daemon.config.settings import Config
from daemon.hosts.agreement import (
    OF_ONE_HOST,
    UNKNOWN,
    as_text,
    differing,
    from_text,
    section_digests,
)

PACS = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104, "receives": ["report"]}
CT = {"name": "ct", "ae_title": "CT", "sends": True}


def digests(**values: Any) -> dict[str, str]:
    return section_digests(Config(**values))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("peers", {"peers": [PACS, CT, {**CT, "name": "dr", "ae_title": "DR"}]}),
        ("peers", {"peers": [{**PACS, "port": 105}, CT]}),
        ("retention", {"retention": {"days": 30}}),
        ("study", {"study": {"quiet_seconds": 5}}),
        ("model", {"model": {"heatmaps": "validated"}}),
        ("analyst", {"analyst": {"max_attempts": 2}}),
        ("listener", {"listener": {"ae_title": "OTHER"}}),
        ("commitment", {"commitment": {"max_resends": 1}}),
    ],
)
def test_a_setting_that_changes_results_is_seen(section: str, values: dict[str, Any]) -> None:
    base: dict[str, Any] = {"peers": [PACS, CT]}
    assert differing(digests(**base), digests(**{**base, **values})) == (section,)


@pytest.mark.parametrize(
    "values",
    [
        {"data_dir": "/srv/elsewhere", "database_url": "postgresql://u:secret@db/x"},
        {"listener": {"host": "10.0.0.7", "port": 104, "max_associations": 9}},
        {"model": {"engine": "torch", "device": "cuda", "threads": 3}},
        {"analyst": {"workers": 7, "lease_seconds": 30, "retry_seconds": 9}},
        {"web": {"port": 9000, "token": "a-token-of-more-than-enough-characters"}},
        {"log": {"level": "debug"}, "spool": {"min_free_mb": 5}},
        {"peers": [CT, PACS]},
    ],
)
def test_a_setting_of_one_host_may_differ(values: dict[str, Any]) -> None:
    base: dict[str, Any] = {"peers": [PACS, CT]}
    assert differing(digests(**base), digests(**{**base, **values})) == ()


def test_the_settings_that_may_differ_exist() -> None:
    assert {*known_keys(), *Config.model_fields} >= OF_ONE_HOST


def test_a_bundle_counts_by_its_card_not_by_its_place(tmp_path: Path) -> None:
    from cxr_model.files.bundle_files import STARTER

    card = (STARTER / "card.json").read_bytes()
    for name, content in (("same", card), ("other", card + b"\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.json").write_bytes(content)
    same, other = (digests(model={"bundle": str(tmp_path / name)}) for name in ("same", "other"))
    assert differing(digests(), same) == ()
    assert differing(digests(), other) == ("model",)


def test_a_bundle_that_is_not_here_is_not_compared(tmp_path: Path) -> None:
    missing = digests(model={"bundle": str(tmp_path / "none")})
    assert missing["model"] == UNKNOWN
    assert differing(digests(), missing) == differing(missing, digests()) == ()


def test_the_text_in_the_store_holds_no_value(tmp_path: Path) -> None:
    found = digests(peers=[PACS, CT], data_dir=tmp_path)
    text = as_text(found)
    assert from_text(text) == found
    assert not [word for word in ("PACS", "104", str(tmp_path)) if word in text]


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_text_of_another_version_says_nothing(text: str) -> None:
    assert from_text(text) == {}
