"""The part `scaling`: service times of each role, and the limits of what hosts share.

`about["scaling"]` of the part holds what docs/scaling.md is written from.
"""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.results import Fact, Part
from tests.benchmarks.scaling.analyst import measure
from tests.benchmarks.scaling.measuring.ceilings import audit_rates, sync_seconds
from tests.benchmarks.scaling.measuring.check import Checked, check_simulation
from tests.benchmarks.scaling.measuring.requests import count_requests
from tests.benchmarks.scaling.measuring.services import Service, measure_services
from tests.benchmarks.scaling.values import Line, Measured
from tests.benchmarks.setting import Setting

SIDES = {1000: 40, 2000: 40, 3873: 20}
"""Pixels of a side, and films: of 2, 8 and 30 MB."""
ENGINES = ("onnxruntime", "openvino", "torch")


def run(setting: Setting) -> Part:
    """Measure one film in each role, the limits of what hosts share, and check the simulation."""
    part = Part("scaling", "Service times of each role, and what hosts share")
    sides = {side: setting.pick(count, 3) for side, count in SIDES.items()}
    services = measure_services(setting.folder / "services", sides)
    engines = _engines(setting)
    requests = count_requests(setting.folder / "requests")
    audit = audit_rates(setting.pick(5, 1))
    checked = check_simulation(setting.folder / "check", setting.pick(80, 8))
    measured = Measured(
        listener=Line.through([(one.megabytes, one.listener) for one in services]),
        analyst=Line.through([(one.megabytes, one.analyst) for one in services]),
        network=min(one["engine cpu s"] for one in engines.values()),
        courier=statistics.mean(one.courier for one in services),
        objects=statistics.mean(one.objects for one in services),
        object_megabytes=statistics.mean(one.object_megabytes for one in services),
        database_cpu=statistics.mean(one.database.cpu_seconds for one in services),
        transactions=statistics.mean(one.database.transactions for one in services),
        log_bytes=statistics.mean(one.database.log_bytes for one in services),
        database_bytes=statistics.mean(one.database.size_bytes for one in services),
        audit_rows=statistics.mean(one.database.audit_rows for one in services),
        # The rate of many writers is the one that several hosts get.
        audit_rate=list(audit["synced"].values())[-1],
        audit_rate_unsynced=list(audit["without sync"].values())[-1],
        sync_seconds=sync_seconds(setting.folder),
        puts=requests.puts,
        gets=requests.gets,
        **_gpu(setting.gpu_output),
    )
    _add_facts(part, services, engines, measured, audit, checked)
    part.about["scaling"] = {
        "measured": dataclasses.asdict(measured),
        "services": [dataclasses.asdict(one) for one in services],
        "engines": engines,
        "requests": dataclasses.asdict(requests),
        "audit": audit,
        "checked": [dataclasses.asdict(one) for one in checked],
    }
    return part


def _engines(setting: Setting) -> dict[str, dict[str, float]]:
    """Return the analyst's times on one core with each engine that is installed."""
    found = {}
    for name in ENGINES:
        try:
            values = measure(name, "cpu", [1], setting.pick(20, 2))
        except Exception as error:  # noqa: BLE001 - an engine that is not installed is left out
            print(f"   {name} is left out: {error}")
            continue
        found[name] = values["by workers"][1]
    return found


def _gpu(output: Path | None) -> dict[str, Any]:
    """Return the values of `python -m tests.benchmarks.scaling.analyst` on a GPU elsewhere."""
    if output is None:
        return {}
    values = json.loads(output.read_text(encoding="utf-8").strip().splitlines()[-1])
    runs = [*values["by workers"].values(), *values.get("by processes", {}).values()]
    best = max(runs, key=lambda one: one["films/s"])
    return {
        "gpu": values["gpu"],
        "gpu_films_per_second": best["films/s"],
        "gpu_cores": values["cores"],
        "gpu_seconds": best["engine wall s"],
        "gpu_heatmaps": best["heatmaps"],
    }


def _add_facts(
    part: Part,
    services: list[Service],
    engines: dict[str, dict[str, float]],
    measured: Measured,
    audit: dict[str, dict[int, float]],
    checked: list[Checked],
) -> None:
    for one in services:
        size = f"a film of {one.megabytes:.0f} MB"
        part.facts += [
            Fact(f"listener, {size}", one.listener, "s of a core"),
            Fact(f"analyst with the report, {size}", one.analyst, "s of a core"),
            Fact(f"courier, an object of {size}", one.courier, "s of a core"),
        ]
    part.facts += [
        Fact(f"the network alone, {name}", one["engine cpu s"], "s of a core")
        for name, one in engines.items()
    ]
    part.facts += [
        Fact("PostgreSQL, a film", measured.database_cpu, "s of a core"),
        Fact("transactions that write, a film", measured.transactions),
        Fact("log (WAL), a film", measured.log_bytes / 1000, "kB"),
        Fact("rows of the audit trail, a film", measured.audit_rows),
        *(
            Fact(f"transactions/s that append to the audit trail, {count} processes, {name}", rate)
            for name, rates in audit.items()
            for count, rate in rates.items()
        ),
        Fact("a sync of the disk", 1000 * measured.sync_seconds, "ms"),
    ]
    for one_check in checked:
        load = f"at {one_check.load:.0%} load"
        for name, mean in (
            ("films that came alone", one_check.simulated_mean),
            ("the films of the run", one_check.queue_mean),
        ):
            error = 100 * (mean / one_check.measured_mean - 1)
            part.facts.append(
                Fact(f"mean wait {load}, simulated with {name}: its error", error, "%")
            )
    part.notes.append("docs/scaling.md has the hosts, the simulation and the costs from these")
