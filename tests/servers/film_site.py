"""A web role that shows films, and the answers that a test gets from it."""

import http.client
import sqlite3
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.records import Instance
from tests.builders.bench import Bench
from tests.servers.website import Site
from tests.tools.ports import HOST


@dataclass(frozen=True)
class Got:
    """An answer of the node."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def picture(self) -> NDArray[np.uint8]:
        """The picture in the answer."""
        assert self.headers["content-type"] == "image/png", self.body
        with Image.open(BytesIO(self.body)) as read:
            return np.asarray(read)


@dataclass(frozen=True)
class FilmSite:
    """The web role, and the films that it shows, by name."""

    site: Site
    bench: Bench
    films: dict[str, Instance]

    def path(self, name: str) -> str:
        """Return the path of a film."""
        film = self.films[name]
        return f"/studies/{film.study_instance_uid}/films/{film.id}"

    def get(self, name: str, tail: str, accept: str = "*/*", **headers: str) -> Got:
        """Ask for a URL of a film."""
        return self.ask(self.path(name) + tail, accept, headers)

    def ask(self, path: str, accept: str = "*/*", headers: dict[str, str] | None = None) -> Got:
        """Ask with the token, as a program does."""
        connection = http.client.HTTPConnection(HOST, self.site.port, timeout=30)
        sent = {"Host": "localhost", "Authorization": f"Bearer {self.site.token}"}
        try:
            connection.request("GET", path, headers={**sent, "Accept": accept, **(headers or {})})
            answer = connection.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders()}
            return Got(answer.status, kept, answer.read())
        finally:
            connection.close()


def change(store: Path, statement: str, *values: object) -> None:
    """Change a row behind the back of the software."""
    database = sqlite3.connect(store)
    with database:
        database.execute(statement, values)
    database.close()
