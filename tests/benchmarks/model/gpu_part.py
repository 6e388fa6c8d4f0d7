"""The GPU as a part: runs `tests.benchmarks.gpu` in a process of its own and reads its last line.

Its output may also come from another machine, which needs no more than torch.
"""

import json
import subprocess
import sys
from typing import Any

from tests.benchmarks.results import Fact, Part
from tests.benchmarks.setting import Setting
from tests.tools.paths import ROOT


def run(setting: Setting) -> Part:
    """Return the rates on a GPU beside the bounds of its arithmetic and its memory."""
    part = Part("gpu", "The network on a GPU")
    if setting.gpu_output is not None:
        output = setting.gpu_output.read_text(encoding="utf-8")
    else:
        command = [sys.executable, "-m", "tests.benchmarks.gpu"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        output = done.stdout
    lines = output.strip().splitlines()
    print("\n".join(lines))
    found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else None
    if found is None:
        part.notes.append("There is no GPU here: it is not measured. Tests run the code path.")
        return part
    _add(part, found)
    if setting.gpu_output is not None:
        part.notes.append("It was measured on another machine than the one above.")
    return part


def _add(part: Part, found: dict[str, Any]) -> None:
    part.notes.append(f"{found['gpu']}, torch {found['torch']}")
    part.facts.append(Fact("memory: copy", found["copy GB/s"], "GB/s"))
    part.facts.append(Fact("largest difference of a logit to the CPU", found["difference"]))
    part.facts += _rates("the engine, from NumPy to NumPy", found["engine"])
    for name in ("float32", "float16", "bfloat16"):
        values = found[name]
        part.facts += _rates(f"network alone, {name}", values["images/s"])
        part.facts += [
            Fact(f"{name}: bound {bound}", rate, "images/s")
            for bound, rate in values["bounds images/s"].items()
        ]
        part.facts += [
            Fact(
                f"{name}: share of the roofline at the best batch", values["share of the roofline"]
            ),
            Fact(f"{name}: largest difference of a logit to the CPU", values["logit difference"]),
        ]


def _rates(name: str, rates: dict[str, float]) -> list[Fact]:
    best = max(rates, key=lambda batch: rates[batch])
    return [
        Fact(f"{name}, batch 1", rates["1"], "images/s"),
        Fact(f"{name}, best batch ({best})", rates[best], "images/s"),
    ]
