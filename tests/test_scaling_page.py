"""docs/scaling.md is written from the values that are kept beside its calculator."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.scaling.calculator import plan, saturation
from tests.benchmarks.scaling.page import PAGE, VALUES, rewrite
from tests.benchmarks.scaling.simulation import (
    FAILOVER,
    HOST_LOST,
    NORMAL,
    PACS_DOWN,
    arrivals_of,
    serve,
    serve_by_priority,
    simulate,
)
from tests.benchmarks.scaling.values import AUDIT, Demand, Hosts, Line, Measured, Prices

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured.of(json.loads(VALUES.read_text(encoding="utf-8"))["measured"])


def test_the_page_has_the_tables_of_the_values(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    rewrite(json.loads(VALUES.read_text(encoding="utf-8")), page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_a_page_without_its_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "scaling.md"
    page.write_text("# Scaling\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks"):
        rewrite(json.loads(VALUES.read_text(encoding="utf-8")), page)


def test_a_line_goes_through_its_points_and_never_below_zero() -> None:
    line = Line.through([(2, 0.3), (8, 0.6), (30, 1.7)])
    assert line.at(8) == pytest.approx(0.6)
    assert Line.through([(2, 0.5), (8, 0.4)]).per_megabyte == 0


def test_more_films_need_more_hosts_and_each_keeps_its_share_of_idle_time(
    measured: Measured,
) -> None:
    plans = [plan(measured, Demand(rate)) for rate in (1, 10, 100)]
    analysts = [one.stores * one.analyst_hosts for one in plans]
    assert analysts == sorted(set(analysts))
    stores = [one.stores for one in plans]
    assert stores == sorted(stores)
    for one in plans:
        hosts = Hosts()
        assert one.busy["analysts"] <= hosts.utilisation
        assert max(one.busy["couriers"], one.busy[AUDIT]) <= hosts.utilisation
        assert one.spool_terabytes == pytest.approx(
            plans[0].spool_terabytes * one.demand.films_per_second
        )
    dear = plan(measured, Demand(10), prices=Prices(core_hour=1))
    assert dear.dollars_per_million > plans[1].dollars_per_million
    assert saturation(measured)[AUDIT] == measured.audit_rate / measured.audit_rows


def test_a_queue_of_one_server_is_that_of_the_theory() -> None:
    """M/D/1 at 80 % load: the mean wait is ρ / 2(1 - ρ) services (Pollaczek, Khinchine)."""
    rng = np.random.default_rng(2)
    arrivals = np.cumsum(rng.exponential(1 / 0.8, 100_000))
    services = np.ones(len(arrivals))
    waits = serve(arrivals, services, 1) - arrivals - services
    assert waits.mean() == pytest.approx(0.8 / (2 * 0.2), rel=0.06)
    ordinary = np.zeros(len(arrivals), dtype=bool)
    assert np.allclose(serve_by_priority(arrivals, services, ordinary, 1) - arrivals, waits + 1)


def test_stat_goes_first_and_no_ordinary_film_waits_for_ever() -> None:
    arrivals, services = np.linspace(0.0, 1999.5, 4000), np.ones(4000)
    stat = np.arange(4000) % 2 == 0
    waits = serve_by_priority(arrivals, services, stat, 1, max_wait=100) - arrivals
    assert waits[stat][:50].max() <= 2.5
    assert waits[~stat][:50].max() <= 103


def test_the_arrivals_of_a_day_have_the_mean_and_the_peak() -> None:
    times = arrivals_of(Demand(2.0, peak=3.0), 86400, np.random.default_rng(1))
    assert len(times) / 86400 == pytest.approx(2.0, rel=0.03)
    busiest = np.histogram(times, bins=24)[0].max() / 3600
    assert busiest == pytest.approx(6.0, rel=0.05)


def test_each_fault_delays_what_it_stops(measured: Measured) -> None:
    planned = plan(measured, Demand(1.0))
    waits = {
        one.name: simulate(measured, planned, one, hours=1.0)
        for one in (NORMAL, HOST_LOST, FAILOVER, PACS_DOWN)
    }
    normal = waits[NORMAL.name]
    assert waits[FAILOVER.name].acknowledged[2] > normal.acknowledged[2]
    assert waits[PACS_DOWN.name].delivered[1] > 1800
    assert waits[PACS_DOWN.name].acknowledged == normal.acknowledged
    assert waits[HOST_LOST.name].ordinary[2] >= normal.ordinary[2]
    assert normal.stat[1] <= normal.ordinary[1] * 1.2
