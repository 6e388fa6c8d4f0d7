"""The pages of a node by their entries, with real studies, films and jobs in their paths."""

import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from daemon.config.loading import load_config
from daemon.statistics.counter import FilmCounter
from daemon.web.access.authenticator import Authenticator
from daemon.web.app import all_entries
from daemon.web.entry import Entry
from daemon.web.films.readers import FilmReaders
from daemon.web.health.checks import Health
from daemon.web.overview.totals import KeptTotals
from daemon.web.site import Site
from storage.files.folder_spool import FolderSpool
from storage.records import JobState
from storage.store import Store
from storage.tables.clock import utc_now
from tests.daemon.web.browser.conftest import BusyNode

_VARIABLE = re.compile(r"{(\w+)(?::\w+)?}")


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_page(self) -> bool:
        """True for a page, and not for an error."""
        return self.status == 200 and self.headers.get("content-type", "").startswith("text/html")


def entries_of(node: BusyNode) -> list[Entry]:
    """Return the entries of the application that the node serves."""
    config = load_config(node.config)
    with node.store() as store:
        spool = FolderSpool(config.data_dir / "spool", 0, create=False)
        health = Health(config, store, spool, utc_now)
        readers = FilmReaders(config.analyst)
        site = Site(config, store, spool, health, utc_now, readers, KeptTotals(store, utc_now))
        authenticator = Authenticator((), config.web, store, lambda *_: None)
        return list(all_entries(site, authenticator, FilmCounter(store, utc_now)))


def paths_of(node: BusyNode, method: str = "GET") -> Iterator[str]:
    """Yield each path of a method, for each study, film and job that its variables can name."""
    choices = _choices(node)
    for entry in entries_of(node):
        if entry.method == method:
            yield from _filled(entry.path, choices)


def _filled(path: str, choices: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    names = _VARIABLE.findall(path)
    kind = "study" if "uid" in names else "job" if "number" in names else "name"
    for values in choices[kind] if names else [{}]:
        missing = set(names) - values.keys()
        assert not missing, f"{path}: the test knows no value of {missing}"
        yield "".join(
            quote(str(values[part])) if number % 2 else part
            for number, part in enumerate(_VARIABLE.split(path))
        )


def _choices(node: BusyNode) -> dict[str, list[dict[str, Any]]]:
    with node.store() as store:
        studies = [
            {
                "uid": image.study_instance_uid,
                "number": image.id,
                "object": next((made.sop_instance_uid for made in image.objects), "1.2.3"),
            }
            for image in _instances(store)
        ]
        jobs = [*store.jobs.list(state=JobState.PARKED, limit=2), *store.jobs.list(limit=2)]
    return {
        "study": studies,
        "job": [{"number": job.id} for job in jobs],
        "name": [{"name": "style.css"}],
    }


def _instances(store: Store) -> list[Any]:
    recent = store.status.recent_instances(50)
    found = (store.results.instance(image.id) for image in recent)
    return [instance for instance in found if instance is not None]


def ask(
    node: BusyNode,
    path: str,
    method: str = "GET",
    token: str | None = None,
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    """Ask the node as a program does, with its token unless another is given."""
    request = urllib.request.Request(
        f"{node.url}{path.lstrip('/')}",
        data=body,
        method=method,
        headers={
            "Authorization": f"Bearer {node.token if token is None else token}",
            "Accept": "text/html, */*",
            "Origin": node.url.rstrip("/"),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return _answer(response.status, response)
    except HTTPError as error:
        with error:
            return _answer(error.code, error)


def _answer(status: int, response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status, headers, response.read())
