"""The web role with clients of DICOMweb, over a new store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dicom_io.dicomweb.multipart import DICOM_FILE, DICOM_JSON, Part, related, written
from storage.store import Store
from tests.builders.stores.new import new_store
from tests.servers.website import running_site
from tests.tools.ports import HOST

NORTH, SOUTH, VIEWER = (f"{name}-token-of-20-characters" for name in ("north", "south", "viewer"))
CLIENTS: list[dict[str, Any]] = [
    {"name": "ward", "token": NORTH, "stores": True, "reads": "own", "source": "north"},
    {"name": "south", "token": SOUTH, "stores": True, "reads": "own"},
    {"name": "viewer", "token": VIEWER, "reads": ["north", "south"]},
]
BOUNDARY = "b0undary"


@dataclass(frozen=True)
class Service:
    """The DICOMweb service of a running web role."""

    port: int
    store: Store
    data: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/dicom-web"

    def get(self, path: str, token: str = NORTH, accept: str = DICOM_JSON) -> httpx.Response:
        headers = {"Accept": accept, **bearer(token)}
        return httpx.get(f"{self.url}{path}", headers=headers)

    def post(
        self, *files: bytes, token: str = NORTH, path: str = "/studies", **headers: str
    ) -> httpx.Response:
        """Store files by STOW-RS."""
        return self.post_body(body_of(*files), token=token, path=path, **headers)

    def post_body(
        self, body: bytes, token: str = NORTH, path: str = "/studies", **headers: str
    ) -> httpx.Response:
        sent = {
            "Content-Type": related(DICOM_FILE, BOUNDARY),
            "Accept": DICOM_JSON,
            **bearer(token),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return httpx.post(f"{self.url}{path}", content=body, headers=sent)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def body_of(*files: bytes) -> bytes:
    return b"".join(written([Part.of(file) for file in files], BOUNDARY))


@contextmanager
def running_service(folder: Path, **sections: Any) -> Iterator[Service]:
    """Run the web role over a new store in a folder, until the block ends."""
    values: dict[str, Any] = {
        "dicomweb": {"clients": CLIENTS},
        "listener": {"max_instance_mb": 1, "max_receiving_mb": 4, "stall_seconds": 1.0},
        "spool": {"min_free_mb": 1},
        **sections,
    }
    with new_store(folder / "cxrd.sqlite") as store, running_site(folder, **values) as site:
        yield Service(site.port, store, site.data)
