"""`cxrd model`: from films and tables to bundles, calibrations and metrics, and one-line errors."""

import csv
import dataclasses
import functools
import hashlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from cxr_model.checkpoints.golden import TOLERANCE
from cxr_model.data.predictions import split_patients
from cxr_model.engine.choice import open_predictor
from cxr_model.errors import TrainingError
from cxr_model.evaluate import plots
from cxr_model.evaluate.evaluation import COLUMNS
from cxr_model.files.weights import DENSENET_121
from cxr_model.findings import LABELS
from cxr_model.predict import curves as calibrators
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.choices import Device
from cxr_model.train import training
from cxr_model.train.config import Initialisation, Precision, TrainingConfig
from daemon.cli.bundles.train import train
from tests.builders.images.films_on_disk import simple_dataset
from tests.builders.made_models import random_network
from tests.servers.plain.file_server import FileServer, serve
from tests.tools.cli import cxrd, cxrd_process, one_line_of_error
from tests.tools.paths import ROOT

pytestmark = pytest.mark.network


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `cxrd model` in this process."""
    return cxrd("model", *map(str, arguments), cwd=Path.cwd())


def error_of(*arguments: object) -> str:
    """Run `cxrd model`, which must fail without output, and return its line of error."""
    done = run(*arguments)
    assert done.stdout == ""
    return one_line_of_error(done)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    simple_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def trained(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle that a process of `cxrd model train` made in one short epoch."""
    out = tmp_path_factory.mktemp("trained") / "bundle"
    done = cxrd_process(
        *("model", "train", "--images", str(films), "--labels", str(films / "labels.csv")),
        *("--out", str(out), "--name", "short", "--size", "32", "--epochs", "1"),
        *("--batch-size", "24", "--seed", "6", "--split-seed", "5"),
        *("--device", "cpu", "--threads", "1"),
        cwd=films,
    )
    assert done.returncode == 0, done.stderr
    assert "short 1, created" in done.stdout
    return out


@pytest.fixture
def no_diagrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the diagrams of 14 labels, which take longer to draw than all else."""
    for name in ("reliability_diagrams", "roc_curves"):
        monkeypatch.setattr(plots, name, lambda *_: None)


SOME_LABELS = ("Effusion", "Mass", "Hernia")


def predictions(
    path: Path,
    n: int = 600,
    *,
    first_patient: int = 0,
    seed: int = 0,
    labels: tuple[str, ...] = SOME_LABELS,
) -> Path:
    """Write a table of predictions with probabilities that are too low by a factor 2 in odds."""
    rng = np.random.default_rng(seed)
    table: dict[str, Any] = {
        "image": [f"{first_patient}-{i}.png" for i in range(n)],
        "patient_id": [str(first_patient + i // 2) for i in range(n)],
    }
    chances = {label: rng.beta(1.0, 3.0, n) for label in labels}
    table |= {f"prob_{label}": p / (2 - p) for label, p in chances.items()}
    table |= {f"y_{label}": (rng.random(n) < p).astype(int) for label, p in chances.items()}
    pd.DataFrame(table).to_csv(path, index=False)
    return path


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["label"]: row for row in csv.DictReader(file)}


def test_the_help_loads_no_network() -> None:
    code = (
        "import sys; sys.argv = ['cxrd', 'model', '--help']\n"
        "from daemon.cli.main import main\n"
        "try:\n main()\nexcept SystemExit: pass\n"
        "sys.exit(bool({'torch', 'pandas', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("show", "train", "calibrate", "evaluate", "import"):
        assert name in done.stdout


def test_train_offers_every_setting_with_its_default() -> None:
    shown = {
        name: parameter.default for name, parameter in inspect.signature(train).parameters.items()
    }
    fields = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
    assert set(fields) - set(shown) == {"augmentation"}
    for name, default in shown.items():
        wanted = fields[name]
        assert default == (inspect.Parameter.empty if wanted is dataclasses.MISSING else wanted)


def test_options_become_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainingConfig] = []

    def stop(config: TrainingConfig, **_: object) -> None:
        configs.append(config)
        raise TrainingError("stopped")

    monkeypatch.setattr(training, "train", stop)
    needed: dict[str, Any] = {name: tmp_path / name for name in ("images", "labels", "out")}
    options = [text for name, path in needed.items() for text in (f"--{name}", path)]
    assert error_of("train", *options) == "cxrd: stopped"
    error_of(
        *("train", *options, "--init", "imagenet", "--teacher", "a", "--teacher", "b"),
        *("--validation", 0.1, "--held-out", 0.3, "--patience", 4, "--precision", "bfloat16"),
    )
    error_of("train", *options, "--init", "models/mine", "--work", "w", "--device", "cpu")
    assert configs == [
        TrainingConfig(**needed),
        TrainingConfig(
            **needed,
            init=Initialisation.IMAGENET,
            teachers=(Path("a"), Path("b")),
            validation_fraction=0.1,
            held_out_fraction=0.3,
            patience=4,
            precision=Precision.BFLOAT16,
        ),
        TrainingConfig(**needed, init=Path("models/mine"), work=Path("w"), device=Device.CPU),
    ]


def test_a_trained_bundle_is_shown_with_its_intervals(trained: Path) -> None:
    shown = run("show", trained)
    assert shown.returncode == 0
    bundle = Bundle.load(trained)
    assert bundle.sha256 in shown.stdout
    assert bundle.card.intended_use in shown.stdout
    held_out = bundle.card.metrics["held_out"]
    low, high = held_out["mean_auc_95"]
    assert f"mean AUC {held_out['mean_auc']:.3f} ({low:.3f} to {high:.3f})" in shown.stdout
    assert "max false calls 0.5; likelihood ratio" in shown.stdout
    false_calls = bundle.card.metrics["held_out"]["false_calls"]["per_film_without_findings"]
    assert shown.stdout.count("per film without findings (") == 3
    assert f"false calls   {false_calls:.3f} (" in shown.stdout
    for label in LABELS:
        assert shown.stdout.count(f"\n{label} ") == 3


def test_metrics_of_another_shape_are_shown_as_they_are(bundle: Path, tmp_path: Path) -> None:
    made = Bundle.load(bundle)
    metrics = {"held_out": {"films": 3, "auc": {"Mass": 0.75, "Hernia": None}}}
    made.with_card(dataclasses.replace(made.card, metrics=metrics)).save(tmp_path / "b")
    shown = run("show", tmp_path / "b")
    assert "held out:\n  films: 3\n  auc: Mass 0.75; Hernia None" in shown.stdout


@pytest.mark.usefixtures("no_diagrams")
def test_only_patients_a_bundle_has_not_seen_are_scored(
    trained: Path, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "metrics.csv"
    films_of = ["--images", films, "--labels", films / "labels.csv", "--bundle", trained]
    done = run("evaluate", *films_of, "--out", out, "--resamples", 50)
    assert done.returncode == 0, done.stderr
    assert "of 80 films only the 16 of held-out patients are scored" in done.stderr
    rows = rows_of(out)
    measured = Bundle.load(trained).card.metrics["held_out"]["labels"]["Effusion"]
    assert rows["Effusion"]["n"] == "16"
    assert float(rows["Effusion"]["auc"]) == pytest.approx(measured["auc"], abs=1e-3)
    assert float(rows["Effusion"]["specificity"]) == pytest.approx(
        measured["specificity"], abs=1e-3
    )
    every = run("evaluate", *films_of, "--out", out, "--resamples", 50, "--every-film")
    assert every.returncode == 0
    assert rows_of(out)["Effusion"]["n"] == "80"
    assert "no skill: " in every.stdout


@pytest.mark.usefixtures("no_diagrams")
def test_predictions_from_films_can_be_used_again(bundle: Path, tmp_path: Path) -> None:
    films = tmp_path / "films"
    simple_dataset(films, patients=8)
    table = pd.read_csv(films / "labels.csv", dtype=str)
    table["image"] = ["=cmd()" if i == 0 else name for i, name in enumerate(table["image"])]
    table.to_csv(tmp_path / "labels.csv", index=False)
    boxed = table["image"][7]
    (tmp_path / "boxes.csv").write_text(f"Image,Finding,x,y,w,h\n{boxed},Effusion,0,0,512,1024\n")
    out = tmp_path / "m.csv"
    done = run(
        *("evaluate", "--images", films, "--labels", tmp_path / "labels.csv"),
        *("--bundle", bundle, "--boxes", tmp_path / "boxes.csv"),
        *("--out", out, "--resamples", 20, "--device", "cpu"),
    )
    assert done.returncode == 0, done.stderr
    (effusion, together) = rows_of(tmp_path / "m_localisation.csv").values()
    assert (effusion["boxes"], effusion["pointing_chance"]) == ("1", "0.500000")
    assert together["label"] == "all"
    written = pd.read_csv(tmp_path / "m_predictions.csv", dtype={"patient_id": str})
    assert written["image"][0] == "'=cmd()"
    assert list(written.columns[:3]) == ["image", "patient_id", "prob_Atelectasis"]
    before = rows_of(out)
    again = run(
        *("evaluate", "--predictions", tmp_path / "m_predictions.csv"),
        *("--out", out, "--resamples", 20),
    )
    assert again.returncode == 0, again.stderr
    for label, row in rows_of(out).items():
        assert row["auc"] == before[label]["auc"]
        assert row["nll"] == before[label]["nll"]
    raw = pd.read_csv(tmp_path / "m_uncalibrated.csv")
    calibrate = Bundle.load(bundle).card.calibrators["Mass"]
    curve = calibrators.calibrator_from_json(calibrate)
    expected = calibrators.sigmoid(curve.apply(calibrators.logit(raw["prob_Mass"])))
    np.testing.assert_allclose(written["prob_Mass"], expected, atol=1e-9)


@pytest.mark.usefixtures("no_diagrams")
def test_films_for_training_only_are_never_measured(
    bundle: Path, films: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(films / "labels.csv", dtype=str)
    table["source"] = ["elsewhere" if i % 5 == 0 else "=here" for i in range(len(table))]
    table.to_csv(tmp_path / "labels.csv", index=False)
    made = Bundle.load(bundle)
    provenance = {**made.card.provenance, "training_only": ["elsewhere"]}
    made.with_card(dataclasses.replace(made.card, provenance=provenance)).save(tmp_path / "b")
    out = tmp_path / "m.csv"
    scored = run(
        *("evaluate", "--images", films, "--labels", tmp_path / "labels.csv", "--out", out),
        *("--bundle", tmp_path / "b", "--resamples", 20, "--device", "cpu"),
    )
    assert scored.returncode == 0, scored.stderr
    left_out = "16 films are left out, because their source is for training only: elsewhere"
    assert left_out in scored.stderr
    assert rows_of(out)["Effusion"]["n"] == "64"
    assert "\n=here " in scored.stdout
    assert "'=here" in (tmp_path / "m_by_group.csv").read_text()
    again = ("evaluate", "--predictions", tmp_path / "m_predictions.csv", "--out", out)
    assert "give either --predictions" in error_of(*again, "--stability")
    for wrong in ("nowhere", ""):
        line = error_of(*again, "--training-only", wrong)
        assert f"--training-only {wrong!r}: no film is of that source" in line
        assert "the sources are '=here" in line
    assert "no film is left to measure" in error_of(*again, "--training-only", "'=here")


@pytest.mark.usefixtures("no_diagrams")
def test_a_card_takes_the_measured_figures(trained: Path, films: Path, tmp_path: Path) -> None:
    out, made = tmp_path / "m.csv", tmp_path / "new"
    measuring = [
        *("evaluate", "--images", films, "--labels", films / "labels.csv", "--device", "cpu"),
        *("--bundle", trained, "--bundle-out", made, "--out", out, "--resamples", 20),
    ]
    images = pd.read_csv(films / "labels.csv", dtype=str)["image"]
    boxes = "".join(f"{image},Effusion,0,0,512,1024\n" for image in images)
    (tmp_path / "boxes.csv").write_text(f"Image,Finding,x,y,w,h\n{boxes}")
    done = run(*measuring, "--stability", "--boxes", tmp_path / "boxes.csv")
    assert done.returncode == 0, done.stderr
    old, new = Bundle.load(trained), Bundle.load(made)
    assert f"bundle: {made}, sha256 {new.sha256}" in done.stdout
    assert new.card.metrics["held_out"]["images"] == 16
    headline = new.card.metrics["headline"]
    assert (headline["part"], headline["sources"]) == ("held_out", [])
    assert new.card.metrics["validation"] == old.card.metrics["validation"]
    stability = pd.read_csv(tmp_path / "m_stability.csv").set_index("change")
    measured = new.card.metrics["stability"]["letterbox_4_5"]
    assert measured["calls"] == stability.loc["letterbox_4_5", "calls"]
    located = new.card.metrics["localisation"]["Effusion"]
    assert (located["boxes"], located["pointing_chance"]) == (16, 0.5)
    table = pd.read_csv(tmp_path / "m_localisation.csv").set_index("label")
    assert table.loc["Effusion", "pointing"] == pytest.approx(located["pointing"], abs=1e-4)
    shown = run("show", made).stdout
    assert "maps and radiologists' boxes" in shown
    assert "headline      mean AUC" in shown
    assert "letterbox_4_5" in shown
    assert "are not written to a card" in error_of(*measuring, "--every-film")


def test_a_calibration_improves_other_patients_and_refuses_its_own(tmp_path: Path) -> None:
    fitted = predictions(tmp_path / "a.csv")
    others = predictions(tmp_path / "b.csv", first_patient=5000, seed=1)
    curves = tmp_path / "made" / "calibration.json"
    done = run("calibrate", "--predictions", fitted, "--out", curves, "--method", "platt")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Hernia +platt +0\.\d+$", done.stdout, re.MULTILINE)
    scoring = ["evaluate", "--calibration", curves, "--out", tmp_path / "m.csv", "--resamples", 20]
    assert run(*scoring, "--predictions", others).returncode == 0
    mean = rows_of(tmp_path / "m.csv")["mean"]
    assert float(mean["nll"]) < float(mean["nll_uncalibrated"])
    assert float(mean["ece_mass"]) < 0.6 * float(mean["ece_mass_uncalibrated"])
    assert "fitted on 300 of these patients" in error_of(*scoring, "--predictions", fitted)


def test_predictions_of_a_site_refit_the_offsets(tmp_path: Path) -> None:
    fitted = predictions(tmp_path / "a.csv")
    site = predictions(tmp_path / "site.csv", first_patient=5000, seed=2)
    made = [tmp_path / "all.json", tmp_path / "site.json"]
    for out, options in zip(made, ([], ["--local", site]), strict=True):
        assert run("calibrate", "--predictions", fitted, "--out", out, *options).returncode == 0
    assert '"local"' not in made[0].read_text()
    assert made[1].read_text().count('"local"') == len(SOME_LABELS)
    some = predictions(tmp_path / "some.csv", first_patient=5000, seed=2, labels=SOME_LABELS[:1])
    done = run(
        *("calibrate", "--predictions", fitted, "--out", tmp_path / "c.json", "--local", some)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not in the table of the site") == len(SOME_LABELS) - 1


def test_a_bundle_takes_the_curves_and_new_thresholds(bundle: Path, tmp_path: Path) -> None:
    fitted = predictions(tmp_path / "a.csv", labels=LABELS)
    done = run(
        *("calibrate", "--predictions", fitted, "--out", tmp_path / "c.json", "--method", "platt"),
        *("--bundle", bundle, "--bundle-out", tmp_path / "new", "--specificity", 0.8),
    )
    assert done.returncode == 0, done.stderr
    old, new = Bundle.load(bundle), Bundle.load(tmp_path / "new")
    assert new.sha256 in done.stdout
    assert new.card.provenance["recalibrated"]["from_sha256"] == old.sha256
    assert new.card.operating_point["specificity"] == 0.8
    film = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    before, after = (
        open_predictor(one, device="cpu").predict([film])[0].finding("Mass") for one in (old, new)
    )
    assert after.logit == before.logit
    curve = calibrators.calibrator_from_json(new.card.calibrators["Mass"])
    assert after.probability == pytest.approx(float(calibrators.sigmoid(curve.apply(after.logit))))
    assert "metrics       none" in run("show", tmp_path / "new").stdout
    alone = error_of(
        "calibrate", "--predictions", fitted, "--out", tmp_path / "c", "--bundle", bundle
    )
    assert "--bundle and --bundle-out belong together" in alone


@pytest.mark.slow
@pytest.mark.usefixtures("no_diagrams")
def test_published_predictions_reach_the_goals_on_other_patients(
    data_folder: Path, tmp_path: Path
) -> None:
    table = pd.read_csv(data_folder / "nih" / "published_predictions.csv.gz", dtype=str)
    halves = split_patients(table["patient_id"].to_numpy(dtype=object), 2, seed=5)
    for half, name in enumerate(("fit", "score")):
        table[halves == half].to_csv(tmp_path / f"{name}.csv", index=False)
    curves, out = tmp_path / "calibration.json", tmp_path / "metrics.csv"
    assert run("calibrate", "--predictions", tmp_path / "fit.csv", "--out", curves).returncode == 0
    done = run(
        *("evaluate", "--predictions", tmp_path / "score.csv", "--calibration", curves),
        *("--out", out, "--resamples", 20),
    )
    assert done.returncode == 0, done.stderr
    with out.open(newline="") as file:
        assert tuple(next(csv.reader(file))[: len(COLUMNS)]) == COLUMNS
    rows = rows_of(out)
    assert list(rows) == [*LABELS, "mean"]
    mean = {
        name: float(value) for name, value in rows["mean"].items() if name not in ("label", "skill")
    }
    assert mean["brier"] <= 0.0421
    assert mean["nll"] <= 0.1520
    assert mean["ece_mass"] < mean["ece_mass_uncalibrated"]
    assert mean["auc_low"] < mean["auc"] < mean["auc_high"]
    shown = next(line for line in done.stdout.splitlines() if line.startswith("mean"))
    assert f"{mean['brier']:.4f}" in shown
    assert 0.9 < mean["slope_low"] <= mean["slope"] <= mean["slope_high"] < 1.1
    assert f"{mean['slope']:.2f}" in done.stdout.splitlines()[-3]


def test_a_constant_prediction_is_no_skill(tmp_path: Path) -> None:
    table = pd.read_csv(predictions(tmp_path / "a.csv"))
    for label in SOME_LABELS:
        table[f"prob_{label}"] = table[f"y_{label}"].mean()
    table.to_csv(tmp_path / "constant.csv", index=False)
    out = tmp_path / "m.csv"
    done = run(
        "evaluate", "--predictions", tmp_path / "constant.csv", "--out", out, "--resamples", 20
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(out)
    assert float(rows["mean"]["ece_mass"]) < 1e-6
    assert {row["skill"] for row in rows.values()} == {"no skill"}
    assert f"no skill: {', '.join(SOME_LABELS)}" in done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "chexnet.pt"
    torch.save(random_network(blocks=DENSENET_121).state_dict(), path)
    return path


@functools.cache
def golden_outputs() -> tuple[np.ndarray, np.ndarray]:
    """Return images and their logits from the network of `checkpoint`."""
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        output = random_network(blocks=DENSENET_121)(torch.from_numpy(images))
    return images, output.logits.numpy()


def golden_file(path: Path, change: float = 0.0) -> Path:
    """Write golden outputs to a file; `change` is added to a logit."""
    images, logits = golden_outputs()
    logits = logits.copy()
    logits[1, LABELS.index("Mass")] += change
    content: dict[str, Any] = {"input": images, "logits": logits}
    if path.suffix == ".npz":
        np.savez(path, **content)
    else:
        save_file(content, path)
    return path


@pytest.mark.parametrize("name", ["golden.npz", "golden.safetensors"])
def test_an_import_is_held_to_golden_outputs(checkpoint: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "bundle"
    done = run("import", checkpoint, "--out", out, "--golden", golden_file(tmp_path / name))
    assert done.returncode == 0, done.stderr
    assert "golden logits: largest difference" in done.stdout
    assert Bundle.load(out).card.name == "chexnet"
    wrong = golden_file(tmp_path / name, change=10 * TOLERANCE)
    refused = error_of("import", checkpoint, "--out", tmp_path / "no", "--golden", wrong)
    assert "the logit of Mass differs by 0.001, more than 0.0001" in refused
    assert not (tmp_path / "no").exists()
    wide = run("import", checkpoint, "--out", out, "--golden", wrong, "--tolerance", 0.1)
    assert wide.returncode == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"input": np.zeros((1, 3, 64, 64))}, "golden outputs are called input and logits"),
        ({"input": np.zeros((1, 1, 64, 64)), "logits": np.zeros((1, 14))}, "input has shape"),
        ({"input": np.zeros((1, 3, 64, 64)), "logits": np.zeros((1, 15))}, "logits have shape"),
        ({"input": np.zeros((1, 3, 64, 64)), "logits": np.zeros((2, 14))}, "2 rows of logits"),
        ({"input": np.zeros((1, 3, 64, 64)), "logits": np.full((1, 14), np.nan)}, "differs by inf"),
        (None, "cannot be read as golden outputs"),
    ],
)
def test_an_unusable_golden_file_is_refused(
    checkpoint: Path, tmp_path: Path, content: dict[str, Any] | None, message: str
) -> None:
    golden = tmp_path / "golden.npz"
    if content is None:
        golden.write_text("no archive")
    else:
        np.savez(golden, **content)
    error = error_of("import", checkpoint, "--out", tmp_path / "bundle", "--golden", golden)
    assert message in error


@pytest.mark.network
def test_published_weights_come_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    torch.save(random_network(blocks=DENSENET_121).state_dict(), tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    command = ["import", "--download", "densenet121-res224-nih", "--out", tmp_path / "bundle"]
    with serve(FileServer(content)) as server:
        done = run(*command, "--mirror", server.url, "--sha256", digest)
        assert done.returncode == 0, done.stderr
        assert Bundle.load(tmp_path / "bundle").card.thresholds["Hernia"] == 0.0004403434
        assert "fetching into" in done.stderr
        refused = run(*command, "--mirror", server.url, "--sha256", "0" * 64)
    assert refused.returncode == 1
    assert "is not the file it should be" in refused.stderr.splitlines()[-1]


def test_an_error_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table = predictions(tmp_path / "a.csv", n=40)
    assert "no bundle at" in error_of("show", tmp_path / "none")
    assert "no image folder" in error_of(
        "train", "--images", tmp_path / "none", "--labels", table, "--out", out
    )
    assert "specificity must lie" in error_of(
        *("train", "--images", tmp_path, "--labels", table, "--out", out),
        *("--specificity", "2"),
    )
    assert "none.csv" in error_of("calibrate", "--predictions", "none.csv", "--out", out)
    assert "none.json" in error_of(
        *("evaluate", "--predictions", table, "--calibration", "none.json", "--out", out)
    )
    assert "give either --predictions" in error_of("evaluate", "--out", out)
    assert "name a checkpoint FILE" in error_of("import", "--out", out)
    assert "known are densenet121" in error_of("import", "--download", "all", "--out", out)
    assert "has sha256" in error_of("import", checkpoint, "--out", out, "--sha256", "0" * 64)
    (tmp_path / "file").write_text("")
    blocked = error_of("calibrate", "--predictions", table, "--out", tmp_path / "file" / "c.json")
    assert "/file" in blocked
    assert not out.exists()
