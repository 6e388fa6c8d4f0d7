"""Every page and every search of a node with 100,000 studies, on SQLite and on PostgreSQL.

The web role runs in this process and answers over HTTP on loopback, as a browser asks it. No film
is in the spool, so that a page with pictures shows their placeholders.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from storage.records import StudyState
from storage.search.records import StudyFilter, StudyRow, StudySort
from storage.store import Store
from tests.benchmarks.results import Fact, Goal, Part, at_most
from tests.benchmarks.setting import Setting
from tests.builders.big_store import build
from tests.servers.website import Site, running_site
from tests.tools.ports import free_port

STUDIES, QUICK_STUDIES = 100_000, 2_000
ROUNDS, QUICK_ROUNDS = 7, 1
PAGE, SEARCH, STUDY = at_most(0.3), at_most(0.5), at_most(0.7)
LEFT_OUT = {
    "/studies.csv",
    "/api/studies.csv",
    "/audit/export",
    "/audit/verification",
    "/api/audit/verification",
}
"""Paths of exports and of the verification, which take longer the more there is."""
INTERFACE = "/api/openapi.json"


def run(setting: Setting) -> Part:
    """Measure each page, each search and each order on both databases."""
    count = setting.pick(STUDIES, QUICK_STUDIES)
    part = Part("web", f"Pages over {count:,} studies")
    rounds = setting.pick(ROUNDS, QUICK_ROUNDS)
    for name, folder, url in _databases(setting.folder):
        build(url, count)
        web = {"port": free_port(), "patient_names": True}
        with running_site(folder, database_url=url, web=web) as site:
            for path, goal in _paths(site, url).items():
                part.facts.append(Fact(f"{name}: {path}", _median(site, path, rounds), "s", goal))
    return part


def _databases(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the name, the folder of the data and the URL of each database; one may be missing."""
    data = folder / "sqlite"
    data.mkdir()
    yield "SQLite", data, f"sqlite:///{data / 'cxrd.sqlite'}"
    from tests.servers.postgresql_server import emptied_database, postgresql_server

    data = folder / "postgresql"
    data.mkdir()
    with contextlib.suppress(pytest.skip.Exception), postgresql_server() as socket:
        yield "PostgreSQL", data, emptied_database(socket)


def _median(site: Site, path: str, rounds: int) -> float:
    """Return the median seconds of an answer, after one that is not counted."""
    taken = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        answer = site.ask(path)
        taken.append(time.perf_counter() - started)
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status}")
    return statistics.median(taken[1:])


def _paths(site: Site, url: str) -> Mapping[str, Goal]:
    """Return the paths to ask for, each with its goal."""
    with Store.open(url, migrate=False) as store:
        rows = store.search.studies(StudyFilter(state=StudyState.REPORTED), offset=50).rows
        full = _with_objects(store, rows)
    paths = dict.fromkeys(_pages(site), PAGE)
    for path in ("/studies", "/api/studies"):
        uid, source = full.key.study_instance_uid, quote(full.key.source)
        paths[f"{path}/{uid}?source={source}"] = STUDY
    for search in (*_searches(rows[0]), *_orders(), *_far_pages()):
        paths[f"/studies?{urlencode(search)}"] = SEARCH
    return paths


def _pages(site: Site) -> list[str]:
    """Return the paths that need no values: those for programs, and their pages for people."""
    described = json.loads(site.ask(INTERFACE).text)["paths"]
    plain = [path for path, methods in described.items() if "get" in methods and "{" not in path]
    twins = [path.removeprefix("/api") for path in plain]
    paths = dict.fromkeys(["/", *twins, *plain])
    return [path for path in paths if path not in LEFT_OUT and site.ask(path).status == 200]


def _with_objects(store: Store, rows: tuple[StudyRow, ...]) -> StudyRow:
    """Return the study with the most objects among some."""

    def objects(row: StudyRow) -> int:
        view = store.search.study(row.key)
        return len(view.objects) if view else 0

    return max(rows, key=objects)


def _searches(row: StudyRow) -> Iterator[dict[str, str]]:
    """Yield a search by each field, with many hits and without one, and by several at once."""
    today = datetime.now(UTC).date()
    month, old = today - timedelta(days=30), today - timedelta(days=600)
    yield from (
        {"q": row.accession_number},
        {"q": row.patient_id},
        {"q": row.key.study_instance_uid},
        {"q": "no such text"},
        {"accession": row.accession_number},
        {"accession": "A2"},
        {"patient": row.patient_id},
        {"patient": "FREQUENT-1"},
        {"name": "Müller, Jörg"},
        {"name": "no such name"},
        {"from": str(month), "to": str(today)},
        {"from": str(old), "to": str(old)},
        {"received_from": str(today)},
        {"received_to": str(old)},
        {"modality": "DX"},
        {"modality": "MG"},
        {"sender": "NORTH_ICU"},
        {"sender": "NOBODY"},
        {"source": "clinic"},
        {"finding": "Hernia"},
        {"finding": "Mass", "modality": "DX", "state": "reported", "q": "PID"},
    )
    for state in StudyState:
        yield {"state": state}


def _orders() -> Iterator[dict[str, str]]:
    for sort in StudySort:
        yield {"sort": sort, "order": "asc"}


def _far_pages() -> Iterator[dict[str, str]]:
    yield {"page": "1800"}
    yield {"page": "1800", "sort": "patient_id", "order": "desc"}
    yield {"page": "100", "modality": "DX", "sort": "study_date", "order": "asc"}
