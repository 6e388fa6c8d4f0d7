"""`cxrd model calibrate --local`: the reviews of a site as labels of the model that it runs."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, select

from cxr_model.calibrate.calibration import Calibration
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.curves import calibrators_from_card, sigmoid
from daemon.cli.bundles.reviews import count_votes
from storage.records import Verdict
from storage.reviews import ReviewedLabel
from storage.store import Store
from storage.tables.database import open_database
from storage.tables.schema import findings, instances, reviews
from tests.builders.store_rows import new_instance
from tests.tools.cli import cxrd, one_line_of_error

AT = datetime(2026, 3, 1, tzinfo=UTC)
FILMS = 160
LINE = {"method": "platt", "slope": 1.0, "intercept": 0.0}
MASS, HERNIA = LABELS.index("Mass"), LABELS.index("Hernia")

SAID = ReviewedLabel(
    instance_id=1,
    sop_instance_uid="1.1",
    source="north",
    study_instance_uid="1.2",
    patient_id="P1",
    label="Mass",
    called_present=True,
    verdict=Verdict.AGREE,
    reviewer="ann",
    reviewed_at=AT,
    logit=1.5,
    probability=0.8,
    threshold=0.5,
    model_sha256="cd",
)
NO = replace(SAID, verdict=Verdict.DISAGREE)


def test_the_majority_of_the_reviewers_decides() -> None:
    votes = count_votes([SAID, replace(NO, reviewer="bob"), replace(NO, reviewer="eve")], "cd")
    assert (votes.reviewers, votes.divided, votes.of_other_models) == (3, 0, 0)
    assert votes.films.outcomes[0, MASS] == 0
    assert (votes.films.logits[0, MASS], votes.films.called[0, MASS]) == (1.5, 1)
    assert np.isnan(votes.films.outcomes[0, HERNIA])


def test_evenly_divided_reviewers_give_no_label() -> None:
    votes = count_votes([SAID, replace(NO, reviewer="bob")], "cd")
    assert votes.divided == 1
    assert np.isnan(votes.films.outcomes).all()


def test_reviewers_of_two_calls_are_counted_by_the_outcome() -> None:
    """To disagree with present, and to agree with absent, is to say the same."""
    later = replace(SAID, called_present=False, reviewer="bob")
    votes = count_votes([NO, later], "cd")
    assert (votes.divided, votes.films.outcomes[0, MASS]) == (0, 0)


def test_films_of_another_model_do_not_count() -> None:
    votes = count_votes([SAID, replace(SAID, instance_id=2, model_sha256="ef")], "cd")
    assert (len(votes.films), votes.of_other_models) == (1, 1)


def test_a_film_without_a_patient_is_of_the_patient_of_its_study() -> None:
    votes = count_votes([replace(SAID, patient_id="")], "cd")
    assert list(votes.films.patients) == ["1.2"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration whose model has analysed films, with reviews of Mass and a few of Hernia."""
    folder = tmp_path_factory.mktemp("site")
    starter = Bundle.load(STARTER)
    card = replace(
        starter.card,
        calibrators=dict.fromkeys(LABELS, LINE),
        thresholds=dict.fromkeys(LABELS, 0.3),
    )
    made = starter.with_card(card)
    made.save(folder / "bundle")
    (folder / "config.yaml").write_text("model: {bundle: bundle}\n")
    url = f"sqlite:///{folder / 'data' / 'cxrd.sqlite'}"
    with Store.open(url, migrate=True) as store:
        store.record_instance(new_instance(), 0)
    rng = np.random.default_rng(0)
    logits = rng.normal(-0.8, 1.5, (FILMS, len(LABELS)))
    called = sigmoid(logits) >= 0.3
    # Less steep than the model says, and more frequent.
    truth = rng.random(logits.shape) < sigmoid(0.4 * logits + 1)
    with open_database(url) as database, database.writing() as connection:
        first = dict(connection.execute(select(instances)).mappings().one())
        films = [
            first
            | {
                "id": i + 2,
                "sop_instance_uid": f"1.9.{i}",
                "study_instance_uid": f"1.8.{i}",
                "patient_id": f"P{i // 2}",
                "state": "analysed",
                "analysed_at": AT,
                "model_sha256": made.sha256,
            }
            for i in range(FILMS)
        ]
        connection.execute(insert(instances), films)
        connection.execute(
            insert(findings),
            [
                {
                    "instance_id": i + 2,
                    "position": j,
                    "label": label,
                    "logit": logits[i, j],
                    "probability": sigmoid(logits[i, j]),
                    "threshold": 0.3,
                    "present": bool(called[i, j]),
                }
                for i in range(FILMS)
                for j, label in enumerate(LABELS)
            ],
        )
        connection.execute(
            insert(reviews),
            [
                {
                    "source": "",
                    "sop_instance_uid": f"1.9.{i}",
                    "instance_id": i + 2,
                    "label": LABELS[j],
                    "verdict": "agree" if truth[i, j] == called[i, j] else "disagree",
                    "present": bool(called[i, j]),
                    "remark": "",
                    "reviewer": "ann",
                    "reviewed_at": AT,
                }
                for i in range(FILMS)
                for j in (MASS, HERNIA)
                if j == MASS or i < 12
            ],
        )
    return folder


def test_reviews_give_curves_and_a_bundle(site: Path, tmp_path: Path) -> None:
    curves, renewed = tmp_path / "calibration.json", tmp_path / "renewed"
    done = cxrd(
        *("model", "calibrate", "--local", "--config", site / "config.yaml", "--out", curves),
        *("--bundle-out", renewed),
        cwd=site,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{FILMS} film(s), 1 reviewer(s)" in done.stdout
    assert "Reviewers choose what they review" in done.stdout
    (hernia,) = (line for line in done.stdout.splitlines() if line.startswith("Hernia"))
    assert "curve kept" in hernia
    assert "lacks" in hernia
    old, new = Bundle.load(site / "bundle"), Bundle.load(renewed)
    fitted = Calibration.load(curves).calibrators
    made = calibrators_from_card(new.card.calibrators)
    places = np.array([-2.0, 2.0])
    assert made["Mass"].apply(places) == pytest.approx(fitted["Mass"].apply(places))
    assert float(np.diff(made["Mass"].apply(places))[0]) < 3
    assert re.search(r"^Mass +platt +prevalence here 0\.\d{4}", done.stdout, re.MULTILINE)
    assert made["Hernia"].apply(places) == pytest.approx(places)
    assert new.card.provenance["recalibrated"]["from_sha256"] == old.sha256
    assert new.card.provenance["recalibrated"]["outcomes"] == "reviews of the site"
    assert json.loads(curves.read_text())["report"]["Mass"]["reviews"]["patients"] == FILMS // 2


def test_reviews_of_another_bundle_are_none_of_this_one(site: Path, tmp_path: Path) -> None:
    done = cxrd(
        *("model", "calibrate", "--local", "-c", site / "config.yaml", "--out", tmp_path / "c"),
        *("--bundle", STARTER),
        cwd=site,
    )
    assert f"no review of a finding of {Bundle.load(STARTER).card.name}" in one_line_of_error(done)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ((), "give the labels: --predictions FILE, or --local alone"),
        (("--local", "site.csv"), "give the labels: --predictions FILE"),
        (("--predictions", "p.csv", "--local"), "leave out --predictions"),
        (("--predictions", "p.csv", "--config", "config.yaml"), "leave it out with --predictions"),
        (("--predictions", "p.csv", "--max-false-calls", "0.5"), "give --bundle and --bundle-out"),
        (("--predictions", "p.csv", "--specificity", "0.9"), "give --bundle and --bundle-out"),
        (("--local", "--max-false-calls", "0.5"), "`cxrd model thresholds` on labelled films"),
        (("--local", "--prevalence", "nih"), "leave out --prevalence"),
        (("--local", "--method", "beta"), "--method is common or platt"),
    ],
)
def test_options_that_exclude_each_other_are_named(
    site: Path, options: tuple[str, ...], error: str
) -> None:
    done = cxrd("model", "calibrate", "--out", "c.json", *options, cwd=site)
    assert error in one_line_of_error(done)


def test_too_few_reviews_are_refused_in_one_line(site: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'few.sqlite'}"
    (tmp_path / "few.sqlite").write_bytes((site / "data" / "cxrd.sqlite").read_bytes())
    with open_database(url) as database, database.writing() as connection:
        connection.execute(reviews.delete().where(reviews.c.instance_id > 20))
    done = cxrd(
        *("model", "calibrate", "--local", "--out", tmp_path / "c", "-c", site / "config.yaml"),
        cwd=site,
        variables={"CXRD_DATABASE_URL": url},
    )
    assert "too few reviews to calibrate on" in one_line_of_error(done)
