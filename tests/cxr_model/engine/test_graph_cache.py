"""A built graph is kept, verified before its use, and never needed."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_model.engine import graph_cache
from cxr_model.engine.graph import build_graph
from cxr_model.engine.graph_cache import MOST_GRAPHS, cache_folder, cached_graph
from cxr_model.predict.bundle import Bundle
from tests.builders.made_models import made_card, random_bundle, random_network


@pytest.fixture(scope="module")
def made() -> Bundle:
    return random_bundle()


@pytest.fixture
def folder(made: Bundle, tmp_path: Path) -> Path:
    """Folder of a cache with the graph of `made`."""
    cached_graph(made, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def no_building(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder.is_dir()

    def build(bundle: Bundle) -> bytes:
        raise AssertionError("the graph is built")

    monkeypatch.setattr(graph_cache, "build_graph", build)


@pytest.mark.usefixtures("no_building")
def test_a_kept_graph_is_read(made: Bundle, folder: Path) -> None:
    (path,) = folder.iterdir()
    assert cached_graph(made, folder) == path.read_bytes()[32:]


def test_a_graph_is_private(folder: Path) -> None:
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [cut, flip, empty, replace_by_folder, replace_by_fifo])
def test_a_damaged_graph_is_built_again(
    made: Bundle, folder: Path, damage: Callable[[Path], None]
) -> None:
    (path,) = folder.iterdir()
    damage(path)
    assert cached_graph(made, folder) == build_graph(made)
    if not path.is_dir():
        assert path.read_bytes()[32:] == build_graph(made)


def test_another_bundle_has_a_graph_of_its_own(made: Bundle, folder: Path) -> None:
    other = Bundle.build(random_network(seed=1), made_card())
    assert cached_graph(other, folder) == build_graph(other) != build_graph(made)
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_others_can_write_is_not_used(made: Bundle, folder: Path) -> None:
    (path,) = folder.iterdir()
    flip(path)
    damaged = path.read_bytes()
    folder.chmod(0o777)
    assert cached_graph(made, folder) == build_graph(made)
    assert path.read_bytes() == damaged


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_graph_of_another_user_is_not_used(made: Bundle, folder: Path) -> None:
    (path,) = folder.iterdir()
    planted = b"another graph"
    path.write_bytes(hashlib.sha256(planted).digest() + planted)
    os.chown(path, 12345, -1)
    assert cached_graph(made, folder) == build_graph(made)
    assert path.stat().st_uid == 0


def test_a_folder_that_cannot_be_made_is_no_fault(made: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert cached_graph(made, tmp_path / "file" / "cache") == build_graph(made)
    assert cached_graph(made, None) == build_graph(made)


def test_old_graphs_are_removed(made: Bundle, folder: Path) -> None:
    (first,) = folder.iterdir()
    for number in range(MOST_GRAPHS):
        old = folder / f"{number}.graph"
        old.touch()
        os.utime(old, (number, number))
    other = Bundle.build(random_network(seed=1), made_card())
    cached_graph(other, folder)
    kept = {path.name for path in folder.iterdir()}
    assert len(kept) == MOST_GRAPHS
    assert first.name in kept
    assert "0.graph" not in kept


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cxrd"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "cxrd"
