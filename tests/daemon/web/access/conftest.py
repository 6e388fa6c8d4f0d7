"""A store that the in-process tests of a module share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.config.sections.web import WebConfig
from storage.store import Store
from tests.builders.stores.new import new_store
from tests.daemon.web.access.logins import Door
from tests.tools.clock import Clock


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def shared_store(shared_folder: Path) -> Iterator[Store]:
    """An empty store; a test of the module must not change it."""
    with new_store(shared_folder / "cxrd.sqlite") as opened:
        yield opened


DoorOf = Callable[..., Door]


@pytest.fixture
def door_of(tmp_path: Path) -> Iterator[DoorOf]:
    """Make the authenticator of a test; its arguments are `on_login` and `clock`."""
    clock = Clock()
    with new_store(tmp_path / "doors.sqlite", clock=lambda: clock.now) as store:

        def made(on_login: Callable[..., None] = lambda *_: None, own: Clock | None = None) -> Door:
            nonlocal clock
            clock = own or clock
            return Door(store, on_login, clock, WebConfig())

        yield made
