"""`make bench`: run every part, or those named: `python -m tests.benchmarks receive forward`.

`python -m tests.benchmarks report FILE.json` writes the results into docs/performance.md, and those
of the part `scaling` into docs/scaling.md.
"""

import argparse
import os
import tempfile
import time
import traceback
from pathlib import Path

from tests.benchmarks.machine import commit, machine, now
from tests.benchmarks.page import PAGE, PLOT, write_report
from tests.benchmarks.parts import OTHERS, PARTS, run_of
from tests.benchmarks.plot import draw_plot
from tests.benchmarks.results import Part, read_results, show_part, write_part
from tests.benchmarks.scaling.page import PAGE as SCALING_PAGE
from tests.benchmarks.scaling.page import VALUES, write_scaling
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.timing import calibration

RESULTS = Path("build") / "bench"
FILE, QUICK_FILE = "bench.json", "quick.json"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of: {', '.join(PARTS | OTHERS)}")
    parser.add_argument("--quick", action="store_true", help="small and few: only to try it")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for JSON and plot")
    parser.add_argument("--scratch", type=Path, help="folder on the disk to measure")
    parser.add_argument("--studies", type=int, help="number of studies of the part `flat`")
    parser.add_argument("--gpu-output", type=Path, help="output of tests.benchmarks.gpu elsewhere")
    arguments = parser.parse_args()
    if arguments.parts[:1] == ["report"]:
        if len(arguments.parts) != 2:
            parser.error("name one JSON file: report FILE.json")
        results = Path(arguments.parts[1])
        write_report(results, PAGE, PLOT)
        print(f"written: {PAGE}, {PLOT}")
        found, parts = read_results(results)
        if "scaling" in parts:
            write_scaling(parts["scaling"], found, SCALING_PAGE, VALUES)
            print(f"written: {SCALING_PAGE}, {VALUES}")
        return
    names = arguments.parts or list(PARTS)
    unknown = [name for name in names if name not in PARTS | OTHERS]
    if unknown:
        parser.error(f"no part is called {unknown[0]!r}; there are {', '.join(PARTS | OTHERS)}")
    # Processes keep their compiled modules, as Python does unless it is told otherwise.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / (QUICK_FILE if arguments.quick else FILE)
    for name in names:
        if name in OTHERS:
            print(f"== {name}", flush=True)
            run_of(OTHERS[name])()
        else:
            _run(name, results, arguments)
    if results.exists():
        found, parts = read_results(results)
        draw_plot(parts, found, results.with_suffix(".png"))
        print(f"results: {results}, {results.with_suffix('.png')}")


def _run(name: str, results: Path, arguments: argparse.Namespace) -> None:
    print(f"== {name}", flush=True)
    noise, started = calibration(), time.perf_counter()
    with tempfile.TemporaryDirectory(
        dir=arguments.scratch, prefix="cxrd-bench-", ignore_cleanup_errors=True
    ) as folder:
        try:
            part: Part = run_of(PARTS[name])(
                Setting(Path(folder), arguments.quick, arguments.studies, arguments.gpu_output)
            )
        except PeerMissingError as error:
            print(f"   left out: {error}")
            return
        except Exception:  # noqa: BLE001 - the other parts are measured all the same
            traceback.print_exc()
            print(f"   {name} failed and is left out")
            return
        part.quick = arguments.quick
        part.about |= {
            "date": now(),
            "commit": commit(),
            "seconds": round(time.perf_counter() - started),
            "noise": noise,
        }
        show_part(part)
        print(
            f"   the machine: a fixed loop varied by {noise['spread']:.1%} (interquartile),"
            f" load {noise['load']:.1f}; {part.about['seconds']} s taken",
            flush=True,
        )
        write_part(results, machine(Path(folder)), part)


if __name__ == "__main__":
    main()
