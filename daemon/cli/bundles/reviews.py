"""`cxrd model calibrate --local`: the reviews in the store as labels."""

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from cxr_model.calibrate.reviews.films import Evidence, ReviewedFilms
from cxr_model.calibrate.reviews.recalibrate import (
    METHODS,
    Recalibration,
    recalibrate,
    recalibrated_bundle,
    without_training_patients,
)
from cxr_model.evaluate.text import slope_line
from cxr_model.evaluate.unseen import CROSS_VALIDATED, calibration_record, left_out_slope
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import STARTER, Bundle
from cxr_model.predict.choices import Sharing
from daemon.cli.options import load_config
from daemon.cli.tables import Column, print_table, print_text
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.errors import UsageError
from storage.store import Store

if TYPE_CHECKING:
    from storage.reviews import ReviewedLabel

_CURVES = (
    Column("Label"),
    Column("Curve"),
    Column("Prevalence"),
    Column("Reviews", yields=0, least=20),
)

SITE_FILMS = 20_000
"""The newest films of the site, whose mean probability is the prevalence of a curve."""

BIAS = (
    "Reviewers choose what they review. The curves hold for all films of the site if they chose by "
    "what the model called, and are biased if they chose by the look of a film: review a random "
    "sample, called and not called, and compare. Measure on labelled films before you rely on them."
)


@dataclass(frozen=True, slots=True)
class Votes:
    """The films with the outcomes of the majority of their reviewers.

    `of_other_models` are films whose latest analysis is of another model, `divided` the findings of
    films on which as many reviewers say present as absent.
    """

    films: ReviewedFilms
    reviewers: int
    of_other_models: int
    divided: int


def calibrate_by_reviews(
    out: Path,
    config: Path | None,
    bundle: Path | None,
    bundle_out: Path | None,
    method: Sequence[Sharing] | None,
    seed: int,
) -> None:
    """Fit the curves of a bundle to the reviews in the store, and write and print the result."""
    methods = tuple(method or METHODS)
    if not set(methods) <= set(METHODS):
        raise UsageError("with reviews --method is common or platt: they follow the present curves")
    settings = load_config(config)
    configured = settings.model.bundle
    model = Bundle.load(bundle or (STARTER if configured == STARTER_BUNDLE else Path(configured)))
    with Store.open(settings.resolved_database_url, migrate=False) as store:
        votes = count_votes(store.reviews.labels(), model.sha256)
        site = np.asarray(store.reviews.logits_of(model.sha256, SITE_FILMS), dtype=np.float64)
    if not len(votes.films):
        raise UsageError(
            f"the store has no review of a finding of {model.card.name} {model.card.version} "
            f"(sha256 {model.sha256[:12]}): agree or disagree on the pages of studies, or name the "
            "bundle that analysed the films (--bundle)"
        )
    films = without_training_patients(model, votes.films)
    print_text(_counted(model, votes, len(films)))
    found = recalibrate(model, films, site.reshape(-1, len(LABELS)), methods=methods, seed=seed)
    slope = left_out_slope(found.fitted, methods=methods, seed=seed)
    found.calibration.save(out)
    print_table(_CURVES, _rows(found))
    print_text(slope_line(slope.value, slope.low, slope.high))
    print_text(BIAS)
    typer.echo(f"calibration: {out}; score it on other patients with `cxrd model evaluate`")
    if bundle_out is not None:
        measured = f"reviews of the site; {CROSS_VALIDATED}"
        renewed = recalibrated_bundle(
            model,
            found,
            calibration_record(found.calibration, slope, measured),
            datetime.datetime.now(datetime.UTC),
        )
        renewed.save(bundle_out)
        typer.echo(f"bundle: {bundle_out}, sha256 {renewed.sha256}; the same films are called")


def count_votes(labels: Iterable["ReviewedLabel"], model_sha256: str) -> Votes:
    """Return the outcomes of the majority for the films that the model analysed last.

    A film without a Patient ID counts as one of a patient of its study.
    """
    others: set[int] = set()
    votes: dict[tuple[int, str], list[ReviewedLabel]] = defaultdict(list)
    for one in labels:
        if one.model_sha256 == model_sha256:
            votes[one.instance_id, one.label].append(one)
        else:
            others.add(one.instance_id)
    numbers = {
        instance_id: row for row, instance_id in enumerate(dict.fromkeys(i for i, _ in votes))
    }
    shape = len(numbers), len(LABELS)
    logits, outcomes, called = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    images, patients = ["" for _ in numbers], ["" for _ in numbers]
    divided = 0
    for (instance_id, label), said in votes.items():
        place = numbers[instance_id], LABELS.index(label)
        newest = said[-1]
        images[place[0]] = f"{newest.source}/{newest.sop_instance_uid}/{instance_id}"
        patients[place[0]] = newest.patient_id or newest.study_instance_uid
        present = Counter(vote.is_present for vote in said)
        if present[True] == present[False]:
            divided += 1
            continue
        logits[place] = newest.logit
        outcomes[place] = present[True] > present[False]
        called[place] = newest.called_present
    films = ReviewedFilms(
        np.asarray(images, dtype=object),
        np.asarray(patients, dtype=object),
        logits,
        outcomes,
        called,
    )
    reviewers = {vote.reviewer for said in votes.values() for vote in said}
    return Votes(films, len(reviewers), len(others), divided)


def _counted(model: Bundle, votes: Votes, used: int) -> str:
    """Return the numbers of reviews, used and not, as one line."""
    card = model.card
    left_out = [
        f"{count} {what}"
        for count, what in (
            (votes.of_other_models, "film(s) that another model analysed last"),
            (votes.divided, "finding(s) on which the reviewers are evenly divided"),
            (len(votes.films) - used, "film(s) of patients that the model was trained on"),
        )
        if count
    ]
    return (
        f"reviews of {card.name} {card.version} (sha256 {model.sha256[:12]}): {used} film(s), "
        f"{votes.reviewers} reviewer(s)" + "; left out: " * bool(left_out) + ", ".join(left_out)
    )


def _rows(found: Recalibration) -> Iterable[tuple[str, ...]]:
    curves, report = found.calibration.to_card(), found.calibration.report
    for each in found.evidence:
        if each.label not in found.fitted_labels:
            shown = "curve kept"
        elif report[each.label]["chosen"] == Sharing.IDENTITY:
            shown = "curve kept, no gain"
        else:
            shown = f"prevalence here {found.calibration.prevalence[each.label]:.4f}"
        yield each.label, curves[each.label]["method"], shown, _said(each)


def _said(each: Evidence) -> str:
    if not each.present + each.absent:
        return "no reviews"
    said = (
        f"{each.present} present, {each.absent} absent; "
        f"{each.called} called, {each.not_called} not called"
    )
    return f"{said}; lacks {each.lacks}" if each.lacks else said
