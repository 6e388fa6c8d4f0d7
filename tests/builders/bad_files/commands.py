"""Runs the commands of `cxrd` on bad files, each in a process of its own, and measures them.

`python -m tests.builders.bad_files.commands OUT.json` writes name, line, seconds and megabytes. The
commands are imported once and forked, so that the seconds are those beyond a command's start.
"""

import importlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from daemon.cli.main import main
from tests.builders.bad_files.bundles import BUNDLES
from tests.builders.bad_files.case import Case, Kind
from tests.builders.bad_files.checkpoints import CHECKPOINTS, good_checkpoint
from tests.builders.bad_files.tables import TABLES, good

_SECONDS = 20
"""Seconds of a processor after which a command has run away, and is killed."""
_IMPORTED = (
    "cxr_model.calibrate.calibration",
    "cxr_model.checkpoints.golden",
    "cxr_model.evaluate.score_films",
    "cxr_model.evaluate.text",
    "cxr_model.train.training",
    "daemon.batch.analyse_files",
)
"""Modules that commands import when they run."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one command; `results` are the files that it left.

    `seconds` are those of a processor, and `megabytes` those beyond the start of a command.
    """

    name: str
    status: int
    lines: list[str]
    results: list[str]
    seconds: float
    megabytes: float


def answers(folder: Path) -> list[Answer]:
    """Return the answer of a command for each case."""
    torch.set_num_threads(1)
    for module in _IMPORTED:
        importlib.import_module(module)
    film = folder / "films" / "film.png"
    film.parent.mkdir()
    cv2.imwrite(str(film), np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    rows = [f"film.png,{n},{('Mass', 'No Finding')[n % 2]},{n}.png" for n in range(40)]
    (folder / "labels.csv").write_text("\n".join(["file,patient_id,labels,image", *rows]))
    (folder / "good.csv").write_text(good())
    good_checkpoint(folder / "good.pt")
    return [
        _answer(case, folder, folder / f"{number:03}")
        for number, case in enumerate((*BUNDLES, *CHECKPOINTS, *TABLES))
    ]


def _answer(case: Case, shared: Path, folder: Path) -> Answer:
    folder.mkdir()
    # What the files need to be made is not measured.
    _in_child(lambda: (folder / "path").write_text(str(case.make(folder))), folder / "made")
    path, out = Path((folder / "path").read_text()), folder / "out"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, used = _in_child(lambda: _command(case, path, shared, out), folder / "said")
    said = (folder / "said").read_text().splitlines()
    results = sorted(file.name for file in out.rglob("*") if file.is_file())
    return Answer(
        f"{case.kind}: {case.name}",
        status,
        [line.replace(str(folder), "") for line in said],
        results,
        round(used.ru_utime + used.ru_stime, 2),
        max(0, round((used.ru_maxrss - before) / 1000)),
    )


def _in_child(work: Callable[[], object], said: Path) -> tuple[int, resource.struct_rusage]:
    child = os.fork()
    if child == 0:
        status = 99
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
            with said.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            work()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 98
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, code, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(code), used


def _command(case: Case, path: Path, shared: Path, out: Path) -> None:
    films = ["--images", str(shared / "films"), "--labels"]
    labels = str(shared / "labels.csv")
    evaluate = ["model", "evaluate", "--out", str(out / "metrics.csv")]
    arguments = {
        Kind.BUNDLE: ["analyse", str(shared / "films"), "--out", str(out)],
        Kind.CHECKPOINT: ["model", "import", str(path), "--allow-modules", "--out", str(out)],
        Kind.GOLDEN: [
            *("model", "import", str(shared / "good.pt")),
            *("--golden", str(path), "--out", str(out)),
        ],
        Kind.PREDICTIONS: [*evaluate, "--predictions", str(path)],
        Kind.LABELS: [*evaluate, *films, str(path)],
        Kind.SOFT_TARGETS: [
            *("model", "train", "--soft-targets", str(path), "--out", str(out)),
            *(*films, labels, "--init", "scratch"),
        ],
        Kind.BOXES: [*evaluate, *films, labels, "--boxes", str(path)],
        Kind.CALIBRATION: [
            *(*evaluate, "--predictions", str(shared / "good.csv")),
            *("--calibration", str(path)),
        ],
    }
    if case.kind is Kind.BUNDLE:
        config = path.parent / "config.yaml"
        config.write_text(f"model:\n  bundle: {path}\n  device: cpu\n  threads: 1\n")
        arguments[case.kind] += ["--config", str(config)]
    sys.argv = ["cxrd", *arguments[case.kind]]
    main()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        found = [asdict(answer) for answer in answers(Path(made))]
    Path(sys.argv[1]).write_text(json.dumps(found, indent=1))
