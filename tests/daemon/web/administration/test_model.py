"""/model: the card, without its weights, and the last good one."""

import dataclasses
import json
import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cxr_model.files.bundle_files import CARD_FILE, STARTER, WEIGHTS_FILE
from cxr_model.files.reliability_file import RELIABILITY_FILE
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.web.administration.cards import KEEP_SECONDS, Cards
from daemon.worker.board import ModelInUse, models_in_use, publish_model
from daemon.worker.role import RoleName
from storage.store import Store
from tests.servers.website import Site, cells, fill, running_site, status_of, supervised

pytestmark = [pytest.mark.daemon, pytest.mark.network]

IN_USE = ModelInUse("north", "starter", "3", "ab" * 32, "ONNX Runtime 1", 5e-7, datetime.now(UTC))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of which only the card and the diagrams are there."""
    made = tmp_path / "bundle"
    made.mkdir()
    for name in (CARD_FILE, RELIABILITY_FILE):
        shutil.copy(STARTER / name, made / name)
    return made


def test_the_card_is_shown_with_its_figures(site: Site, store: Store) -> None:
    fill(store)
    found = json.loads(site.ask("/api/model").text)
    card = json.loads((STARTER / CARD_FILE).read_text(encoding="utf-8"))
    shown = found["card"]
    assert (shown["name"], shown["version"]) == (card["name"], card["version"])
    assert shown["intended_use"] == card["intended_use"]
    assert shown["calibrated"] is True
    held_out = card["metrics"]["held_out"]
    assert shown["parts"][0]["mean_auc"]["value"] == held_out["mean_auc"]
    mass = next(row for row in shown["findings"] if row["label"] == "Mass")
    measured = held_out["labels"]["Mass"]
    assert [mass["auc"][key] for key in ("value", "low", "high")] == [
        measured["auc"],
        *measured["auc_95"],
    ]
    assert mass["threshold"] == card["thresholds"]["Mass"]
    assert mass["sensitivity"]["value"] == card["operating_point"]["labels"]["Mass"]["sensitivity"]
    assert {row["source"] for row in shown["parts"][0]["sources"]} == set(held_out["by_source"])
    page = site.ask("/model").text
    rows = {row[0]: row[1:] for row in cells(page) if row}
    assert rows["Mass"][0].startswith(f"{measured['auc']:.3f}")
    assert page.count('class="chart-picture chart-square"') == 14
    assert "below it the number is too high, above it too low" in page
    assert "no analyst has told which model it has loaded" in page


def test_a_bundle_that_vanishes_leaves_its_last_card(folder: Path) -> None:
    now = 0.0
    cards = Cards(ModelConfig(bundle=str(folder)), lambda: now)
    good = cards.read()
    assert good.card is not None
    assert (good.card.name, good.problem) == ("cxrd-starter", "")
    assert len(good.card.reliability) == 14
    shutil.rmtree(folder)
    assert cards.read() == good
    now = KEEP_SECONDS
    gone = cards.read()
    assert gone.card == good.card
    assert gone.problem.startswith(f"no bundle at {folder}")


def test_diagrams_of_another_card_are_not_shown(folder: Path) -> None:
    path = folder / CARD_FILE
    path.write_text(path.read_text().replace('"version": "3"', '"version": "4"'))
    card = Cards(ModelConfig(bundle=str(folder))).read().card
    assert card is not None
    assert card.reliability == ()
    assert "measured with another card" in card.reliability_problem


def test_a_card_without_figures_has_a_page(tmp_path: Path, store: Store, bundle: Path) -> None:
    assert (bundle / WEIGHTS_FILE).exists()
    with running_site(tmp_path, model={"bundle": str(bundle)}) as site:
        page = site.ask("/model").text
    assert "This bundle was not measured here" in page
    assert "This bundle has no reliability diagrams" in page
    assert "not calibrated" in page


def test_a_page_without_a_card_says_why(tmp_path: Path, store: Store) -> None:
    with running_site(tmp_path, model={"bundle": str(tmp_path / "none")}) as site:
        answer = site.ask("/model")
    assert answer.status == 200
    assert "The bundle cannot be read: no bundle at" in answer.text


def test_each_host_says_what_its_analyst_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data_dir=tmp_path)
    assert models_in_use(config) == ()
    publish_model(config, IN_USE)
    monkeypatch.setattr(socket, "gethostname", lambda: "south")
    (tmp_path / "run" / "model-broken").write_text('{"host": 1}')
    publish_model(config, IN_USE)
    assert models_in_use(config) == (IN_USE, IN_USE)


def test_the_model_of_a_host_that_no_longer_runs_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that is made anew has another name; its old one runs no model."""
    config = Config(data_dir=tmp_path)
    for host in ("old", "south"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        publish_model(config, dataclasses.replace(IN_USE, host=host))
    with supervised(config):
        monkeypatch.setattr(socket, "gethostname", lambda: "north")
        publish_model(config, dataclasses.replace(IN_USE, host="north"))
        with supervised(config, status_of(config, RoleName.ANALYST)):
            assert [model.host for model in models_in_use(config)] == ["north", "south"]
