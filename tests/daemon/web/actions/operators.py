"""A web role over a store with work of each kind, and operators with their browsers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, StudyKey
from storage.store import Store
from tests.builders.outbox import queue_report
from tests.builders.store_rows import SOURCE, claim, new_instance
from tests.builders.stores.new import new_store
from tests.daemon.web.access.logins import BROWSER, OWN, log_in, session_of
from tests.servers.website import Answer, Site, running_site
from tests.tools.ports import HOST, free_port

ALICE, BOB, VIEWER = (f"{name}-correct-horse-battery" for name in ("alice", "bob", "viewer"))
NAMES = {ALICE: "alice", BOB: "bob", VIEWER: "viewer"}
_ROLES = {ALICE: "operator", BOB: "operator", VIEWER: "viewer"}
KEY = StudyKey(SOURCE, "2.25.81")
"""A study whose report was delivered."""
HELD = StudyKey(SOURCE, "2.25.82")
"""A study of two patients."""
REPORT = "2.25.71"
PEERS: list[dict[str, Any]] = [
    {"name": SOURCE, "ae_title": "MODALITY", "sends": True},
    *(
        {"name": name, "ae_title": name, "host": HOST, "port": 4242, "receives": ["report"]}
        for name in ("pacs", "archive")
    ),
]


def fill(store: Store, spool: FolderSpool) -> list[int]:
    """Add a delivered study, a held study and three parked jobs; return the jobs' numbers."""
    queue_report(store, spool, "pacs", 1)
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
    for patient in ("P1", "P2"):
        film = new_instance(
            f"1.9.{patient}",
            patient,
            study_instance_uid=HELD.study_instance_uid,
            source=SOURCE,
            patient_id=patient,
        )
        store.record_instance(film, 0)
    numbers = []
    for subject in ("a", "b", "c"):
        store.jobs.enqueue(JobKind.COMMIT, f"1.2.{subject}@pacs", lane="pacs")
        job = claim(store, JobKind.COMMIT)
        store.jobs.fail(job, "no answer", None)
        numbers.append(job.id)
    return numbers


@contextmanager
def site_with_operators(data: Path, **sections: Any) -> Iterator[Site]:
    """Run the web role with tokens of alice, bob and a viewer."""
    tokens = [
        {"name": NAMES[token], "role": role, "token": token} for token, role in _ROLES.items()
    ]
    web = {"port": free_port(), "tokens": tokens}
    with running_site(data, web=web, peers=PEERS, **sections) as site:
        yield site


@dataclass
class Visitor:
    """A browser with a session."""

    site: Site
    session: dict[str, str]

    @classmethod
    def of(cls, site: Site, token: str) -> "Visitor":
        return cls(site, session_of(log_in(site, token)))

    def get(self, path: str) -> Answer:
        return self.site.ask_with({**BROWSER, **self.session}, path)

    def post(self, path: str, fields: list[tuple[str, str]], **headers: str) -> Answer:
        form = {"Content-Type": "application/x-www-form-urlencoded", **OWN, **BROWSER}
        return self.site.ask_with(
            {**form, **self.session, **headers}, path, "POST", body=urlencode(fields).encode()
        )

    def confirm(self, path: str, *more: tuple[str, str]) -> Answer:
        """Open a confirmation, and send its form."""
        page = self.get(path)
        assert page.status == 200, page.text
        return self.post(path.partition("?")[0], [*fields_of(page), *more])

    def follow(self, path: str, answer: Answer) -> Answer:
        """Follow a redirection of an answer to `path`."""
        assert answer.status == 303, answer.text
        place = urljoin(f"http://localhost{path}", answer.headers["location"])
        assert place.startswith("http://localhost/")
        return self.get(place.removeprefix("http://localhost"))


def fields_of(page: Answer) -> list[tuple[str, str]]:
    """Return the hidden fields of the form of a page that acts."""
    (form,) = re.findall(
        r'<form method="post" action="[./]*actions.*?</form>', page.text, re.DOTALL
    )
    return re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def store_of(folder: Path) -> Store:
    return new_store(folder / "cxrd.sqlite")
