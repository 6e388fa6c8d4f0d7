"""docs/scaling.md: its tables, written from the results of the part `scaling`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tests.benchmarks.results import Part
from tests.benchmarks.scaling.calculator import YEAR_SECONDS, plan, saturation
from tests.benchmarks.scaling.simulation import OUTAGES, PACS_DOWN, simulate
from tests.benchmarks.scaling.values import (
    S3_PUTS_PER_PREFIX,
    Demand,
    Hosts,
    Measured,
    Plan,
    Prices,
)
from tests.tools.paths import ROOT

PAGE = ROOT / "docs" / "scaling.md"
VALUES = Path(__file__).with_name("measured.json")
"""The values that the page was written from."""
NATIONAL = 1e9 / YEAR_SECONDS
"""Films/s of a service with a thousand million films a year."""
RATES = (1.0, 10.0, NATIONAL, 100.0)
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def write_scaling(part: Part, machine: dict[str, Any], page: Path, values: Path) -> None:
    """Simulate, keep the values, and replace the tables of the page between its marks."""
    measured = Measured.of(part.about["scaling"]["measured"])
    kept = {
        **part.about["scaling"],
        "simulated": simulate_all(measured, 1.0 if part.quick else 3.0),
        "machine": f"{machine['processor']}, {machine['cores']} cores, disk {machine['disk']}",
        "date": part.about["date"],
        "commit": part.about["commit"],
        "quick": part.quick,
        "noise": part.about["noise"],
    }
    values.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    rewrite(kept, page)


def simulate_all(measured: Measured, hours: float) -> list[dict[str, Any]]:
    """Simulate each rate with each fault, with the hosts that the calculator gives."""
    found = []
    for rate in RATES:
        planned = plan(measured, Demand(rate))
        for outage in OUTAGES:
            # The queue of a PACS that was away for two hours is to be seen to its end.
            span = max(hours, 4.0) if outage is PACS_DOWN else hours
            waits = simulate(measured, planned, outage, hours=span)
            found.append({"rate": rate, "outage": outage.name, **dataclasses.asdict(waits)})
    return found


def rewrite(kept: dict[str, Any], page: Path) -> None:
    """Replace the tables of the page. Raises ValueError if it lacks the marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {BEGIN} or {END}")
    # JSON turns the keys that are numbers into text.
    kept = json.loads(json.dumps(kept))
    text = "\n".join([before + begin, "", *_lines(kept), "", end]) + after
    page.write_text(text, encoding="utf-8")


def _lines(kept: dict[str, Any]) -> list[str]:
    measured = Measured.of(kept["measured"])
    rates = list(dict.fromkeys(one["rate"] for one in kept["simulated"]))
    plans = [plan(measured, Demand(rate)) for rate in rates]
    noise = kept["noise"]
    return [
        f"Measured {kept['date']}, commit {kept['commit']}, on {kept['machine']}. "
        f"A fixed loop varied by {noise['spread']:.1%} before it, load {noise['load']:.1f}."
        + (" **Quick form: not a result.**" if kept["quick"] else ""),
        *_services(kept, measured),
        *_hosts(measured, plans),
        *_limits(measured),
        *_simulated(kept),
        *_checked(kept),
        *_costs(plans),
    ]


def _services(kept: dict[str, Any], measured: Measured) -> list[str]:
    lines = [
        "",
        "### One film",
        "",
        "Seconds of one core for a film that is a study of its own, on PostgreSQL:",
        "",
        "| film | listener | analyst, with the report | courier, an object | objects |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['megabytes']:.0f} MB | {one['listener']:.3f} s | {one['analyst']:.3f} s | "
        f"{one['courier']:.3f} s | {one['objects']:.1f} of {one['object_megabytes']:.2f} MB |"
        for one in kept["services"]
    ]
    lines += [
        "",
        "The analyst on one core by engine, without store and report, films of 10 MB:",
        "",
        "| engine | the network with 14 maps | the rest of its process | reader | heatmaps |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['engine cpu s']:.3f} s | {one['own cpu s'] - one['engine cpu s']:.3f} s "
        f"| {one['reader cpu s']:.3f} s | {one['heatmaps']:.1f} |"
        for name, one in kept["engines"].items()
    ]
    lines += [
        "",
        f"PostgreSQL for a film: {measured.database_cpu * 1000:.0f} ms of a core, "
        f"{measured.transactions:.0f} transactions that write, {measured.audit_rows:.1f} rows of "
        f"the audit trail, {measured.log_bytes / 1000:.0f} kB of log (WAL), "
        f"{measured.database_bytes / 1000:.0f} kB of tables and indexes. "
        f"S3: {measured.puts:.1f} PUT, and GET {measured.gets:.1f} for the analysis and one for "
        "each delivery.",
    ]
    if measured.gpu:
        lines += [
            "",
            f"With a GPU ({measured.gpu}, {measured.gpu_cores} cores) the analyst of a host does "
            f"{measured.gpu_films_per_second:.0f} films/s in several processes; the GPU works "
            f"{measured.gpu_seconds * 1000:.1f} ms on a film. The processors of the host are its "
            "limit: reading the films and drawing the heatmaps. That host is another machine, and "
            f"its films had {measured.gpu_heatmaps:.1f} heatmaps each: its column below cannot be "
            "compared with that of hosts without a GPU.",
        ]
    return lines


def _hosts(measured: Measured, plans: list[Plan]) -> list[str]:
    hosts, demand = Hosts(), plans[0].demand
    lines = [
        "",
        "### Hosts",
        "",
        f"Films of {demand.megabytes:.0f} MB, a busiest hour of {demand.peak:g} times the mean, "
        f"hosts of {hosts.cores} cores that are "
        f"{hosts.utilisation:.0%} busy in it, and "
        f"{hosts.spare} more of each kind, so that one may be lost. What the hosts of a store "
        f"share is {hosts.utilisation:.0%} busy, too: beyond it there are more stores, each a "
        "database with hosts of its own, one for each region or group of hospitals. A "
        f"destination answers in {demand.pacs_seconds * 1000:.0f} ms.",
        "",
        "| films/s, mean | films a year | stores | each: listeners | analysts, CPU | "
        "analysts, GPU | courier processes | all: spool a year | databases a year | "
        "S3 in the peak |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.demand.films_per_second:.3g} | "
        f"{one.demand.films_per_second * 31.5576:,.0f} million | {one.stores} | "
        f"{one.listener_hosts} | "
        f"{one.analyst_hosts} | {one.gpu_hosts or 'not measured'} | {one.couriers} | "
        f"{one.spool_terabytes:,.0f} TB | {one.database_terabytes:,.1f} TB | "
        f"{one.requests_per_second:,.0f} requests/s, {one.megabytes_per_second:,.0f} MB/s |"
        for one in plans
    ]
    single = 2 / measured.analyst.at(demand.megabytes)
    return [
        *lines,
        "",
        f"Two cores do {single:.1f} films/s in the analyst at most: "
        f"{0.6 * single / demand.peak * 86400:,.0f} films a day with the same peak.",
    ]


def _limits(measured: Measured) -> list[str]:
    limits = saturation(measured)
    first = min(limits, key=lambda name: limits[name])
    return [
        "",
        "### What hosts share, and what breaks first",
        "",
        "| shared by all hosts | films/s at its limit | of it |",
        "|---|---|---|",
        f"| lock of the audit trail | {limits['lock of the audit trail']:,.0f} | "
        f"{measured.audit_rate:,.0f} transactions/s, one at a time; "
        f"{measured.audit_rate_unsynced:,.0f} if commits waited for no disk |",
        f"| database processors | {limits['database processors']:,.0f} | "
        f"{Hosts().database_cores} cores |",
        f"| S3 requests | {limits['S3 requests']:,.0f} | "
        f"{S3_PUTS_PER_PREFIX:,.0f} PUT/s for a prefix, as AWS documents it; the spool has 512 |",
        "",
        f"**First: {first}**, at {limits[first]:,.0f} films/s in the busiest hour. A sync of this "
        f"disk takes {measured.sync_seconds * 1000:.2f} ms. One database is "
        "not made faster by more hosts: a region more gets a store of its own.",
    ]


def _simulated(kept: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "### Simulated waits",
        "",
        "One store around the busiest hour, with its hosts above; median / 95 / 99 per cent in "
        "seconds. *Acknowledged* is from the last byte to the answer. STAT and ordinary films wait "
        "from the answer to their findings; *delivered* is the last object at the destination, "
        "with `quiet_seconds` 30.",
        "",
        "| films/s | case | acknowledged | findings, STAT | findings, ordinary | delivered |",
        "|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {one['rate']:.3g} | {one['outage']} | {_spread(one['acknowledged'])} | "
        f"{_spread(one['stat'])} | {_spread(one['ordinary'])} | {_spread(one['delivered'])} |"
        for one in kept["simulated"]
    ]


def _spread(values: list[float]) -> str:
    return " / ".join(f"{value:,.0f}" if value >= 100 else f"{value:.2g}" for value in values)


def _checked(kept: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "### The simulation against the daemon",
        "",
        "One worker of the analyst, films at random times: seconds from the reception to the "
        "findings, measured and simulated. The second simulation has the service times of the run "
        "itself, which other programs on the machine change.",
        "",
        "| load | films | measured mean, 95 % | simulated from films alone | error of the mean | "
        "simulated from the run | error of the mean |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in kept["checked"]:
        measured = one["measured_mean"]
        lines.append(
            f"| {one['load']:.0%} | {one['films']} | {measured:.2f}, {one['measured_p95']:.2f} | "
            f"{one['simulated_mean']:.2f}, {one['simulated_p95']:.2f} | "
            f"{one['simulated_mean'] / measured - 1:+.0%} | "
            f"{one['queue_mean']:.2f}, {one['queue_p95']:.2f} | "
            f"{one['queue_mean'] / measured - 1:+.0%} |"
        )
    return lines


def _costs(plans: list[Plan]) -> list[str]:
    prices = Prices()
    lines = [
        "",
        "### Costs, by example prices",
        "",
        f"**An example, not an offer**: {prices.core_hour} an hour for a core, "
        f"{prices.gpu_hour:.2f} for a host with a GPU, {prices.gigabyte_month} a month for a GB, "
        f"{prices.put_thousand} for 1,000 PUT, {prices.get_thousand} for 1,000 GET, films kept for "
        f"{prices.months:.0f} months. Network and the database's disk are not in it.",
        "",
        "| films/s | a million films, CPU | with GPU |",
        "|---|---|---|",
    ]
    return lines + [
        f"| {one.demand.films_per_second:.3g} | {one.dollars_per_million:,.0f} | "
        + (
            "not measured"
            if one.dollars_per_million_gpu is None
            else f"{one.dollars_per_million_gpu:,.0f}"
        )
        + " |"
        for one in plans
    ]
