"""Hosts, storage and costs of your own demand, and its waits in the simulation.

python -m tests.benchmarks.scaling --films-per-second 10 --megabytes 8 --peak 2.5

The measured values are those of docs/scaling.md, or of `--results FILE` from the part `scaling`.
Prices are given by `--price NAME=VALUE`; the defaults are an example.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from tests.benchmarks.results import read_results
from tests.benchmarks.scaling.calculator import plan, saturation
from tests.benchmarks.scaling.page import VALUES
from tests.benchmarks.scaling.simulation import OUTAGES, simulate
from tests.benchmarks.scaling.values import Demand, Hosts, Measured, Prices


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, help="bench.json with the part scaling")
    for kind in (Demand, Hosts):
        for one in dataclasses.fields(kind):
            needed = one.default is dataclasses.MISSING
            parser.add_argument(
                f"--{one.name.replace('_', '-')}",
                type=float if needed else type(one.default),
                default=None if needed else one.default,
                required=needed,
            )
    parser.add_argument("--price", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated around the peak")
    asked = vars(parser.parse_args())
    demand = Demand(**{one.name: asked[one.name] for one in dataclasses.fields(Demand)})
    hosts = Hosts(**{one.name: asked[one.name] for one in dataclasses.fields(Hosts)})
    known = {one.name for one in dataclasses.fields(Prices)}
    given = dict(text.partition("=")[::2] for text in asked["price"])
    if not given.keys() <= known:
        parser.error(f"--price takes {', '.join(sorted(known))}")
    prices = Prices(**{name: float(value) for name, value in given.items()})
    measured = _measured(asked["results"])
    planned = plan(measured, demand, hosts, prices)
    print(f"stores               {planned.stores}; the hosts and waits below are those of one")
    print(f"listener hosts       {planned.listener_hosts}")
    print(f"analyst hosts        {planned.analyst_hosts}, or with GPU {planned.gpu_hosts or '–'}")
    print(f"courier processes    {planned.couriers}")
    for name, busy in planned.busy.items():
        print(f"busy in the peak     {busy:.0%} {name}{'  TOO MUCH' * (busy > 1)}")
    for name, rate in saturation(measured, hosts).items():
        print(f"saturated at         {rate:,.0f} films/s: {name}")
    print(f"spool, a year        {planned.spool_terabytes:,.1f} TB")
    print(f"database, a year     {planned.database_terabytes:,.2f} TB")
    print(f"S3 in the peak       {planned.requests_per_second:,.0f} requests/s")
    print(f"a million films      {planned.dollars_per_million:,.0f} (prices: {prices})")
    for outage in OUTAGES:
        waits = simulate(measured, planned, outage, hours=asked["hours"], hosts=hosts)
        shown = ", ".join(
            f"{name} {' / '.join(f'{value:.3g}' for value in values)}"
            for name, values in dataclasses.asdict(waits).items()
            if isinstance(values, tuple)
        )
        print(f"{outage.name}: p50 / p95 / p99 in s: {shown}")


def _measured(results: Path | None) -> Measured:
    if results is None:
        values = json.loads(VALUES.read_text(encoding="utf-8"))
    else:
        values = read_results(results)[1]["scaling"].about["scaling"]
    return Measured.of(values["measured"])


if __name__ == "__main__":
    main()
