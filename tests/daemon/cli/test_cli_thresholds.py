"""`cxrd model thresholds`: from a table of a site to a bundle, and one-line errors."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from tests.tools.cli import cxrd, one_line_of_error


def site_table(path: Path, calibrated: int = 0) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(80)]})
    table["patient_id"] = [str(i // 2) for i in range(80)]
    for number, label in enumerate(LABELS):
        found = np.arange(80) % 28 == 2 * number
        table[f"prob_{label}"] = rng.uniform(0.01, 0.2, 80) + 0.5 * found
        table[f"y_{label}"] = found.astype(int)
    table["calibrated"] = calibrated
    table.to_csv(path, index=False)
    return path


def test_a_site_chooses_thresholds_and_sees_their_rates(bundle: Path, tmp_path: Path) -> None:
    table, out = site_table(tmp_path / "site.csv"), tmp_path / "new"
    command = ["model", "thresholds", "--predictions", str(table), "--bundle", str(bundle)]
    done = cxrd(*command, "--bundle-out", str(out), "--max-false-calls", "0.25", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    renewed = Bundle.load(out)
    assert renewed.card.operating_point["max_false_calls"] == 0.25
    assert "false calls   0.250 (" in done.stdout
    assert "sensitivity (95 %)" in done.stdout
    assert f"sha256 {renewed.sha256}" in done.stdout
    shown = cxrd("model", "show", str(out), cwd=tmp_path)
    assert "max false calls 0.25; likelihood ratio" in shown.stdout
    assert "chosen on labelled films of the site" in shown.stdout

    other = str(tmp_path / "other")
    both = cxrd(
        *command, "--bundle-out", other, "--ppv", "0.3", "--sensitivity", "0.5", cwd=tmp_path
    )
    assert "not ppv and sensitivity: give one" in one_line_of_error(both)
    command[3] = str(site_table(tmp_path / "calibrated.csv", calibrated=1))
    refused = cxrd(*command, "--bundle-out", other, cwd=tmp_path)
    assert "are calibrated already: give those of the network" in one_line_of_error(refused)
    assert not Path(other).exists()
