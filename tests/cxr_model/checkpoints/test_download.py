"""Downloads of weights: resumed, verified, and complete or absent."""

import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from cxr_model.checkpoints.download import Source, fetch
from cxr_model.checkpoints.importers import TORCHXRAYVISION_LABELS
from cxr_model.checkpoints.published import PUBLISHED, Published, import_published, published
from cxr_model.errors import DownloadError
from cxr_model.files.weights import DENSENET_121
from cxr_model.findings import LABELS
from tests.builders.made_models import random_network
from tests.servers.plain.file_server import FileServer, serve

pytestmark = pytest.mark.network

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(FileServer(CONTENT)) as running:
        yield running


def source_of(
    server: FileServer, *, size: int | None = len(CONTENT), sha256: str = SHA256
) -> Source:
    return Source(f"{server.url}/weights.pt", size, sha256)


def get(source: Source, folder: Path) -> Path:
    target = folder / "kept" / "weights.pt"
    fetch(source, target, progress=False, timeout=5)
    return target


def error_of(source: Source, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        get(source, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def part_of(folder: Path) -> Path:
    return folder / "kept" / "weights.pt.part"


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("length", [True, False])
def test_a_file_arrives_whole(
    server: FileServer, tmp_path: Path, size: int | None, length: bool
) -> None:
    server.length = length
    target = get(source_of(server, size=size), tmp_path)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["weights.pt"]


def test_an_existing_file_is_verified_and_not_downloaded_again(
    server: FileServer, tmp_path: Path
) -> None:
    target = get(source_of(server), tmp_path)
    get(source_of(server), tmp_path)
    assert server.starts == [0]
    target.write_bytes(CONTENT[:-1] + b"x")
    assert "sha256" in error_of(source_of(server), tmp_path)


def test_a_broken_connection_is_resumed(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [300_000, 200_000]
    target = get(source_of(server), tmp_path)
    assert target.read_bytes() == CONTENT
    assert server.starts == [0, 300_000, 500_000]


def test_the_next_call_resumes_the_download(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [300_000, 0]
    message = error_of(source_of(server), tmp_path)
    assert "broke off after 0.3 of 1.0 MB" in message
    assert "the same command goes on from there" in message
    assert part_of(tmp_path).read_bytes() == CONTENT[:300_000]
    assert not (tmp_path / "kept" / "weights.pt").exists()
    server.starts.clear()
    assert get(source_of(server), tmp_path).read_bytes() == CONTENT
    assert server.starts == [300_000]


def test_a_server_without_ranges_starts_anew(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(b"x" * 1000)
    assert get(source_of(server), tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(b"x" * 1000)
    assert "its sha256 is" in error_of(source_of(server), tmp_path)
    assert not part_of(tmp_path).exists()
    assert get(source_of(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"too long"])
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_that_is_already_complete_or_too_long(
    server: FileServer, tmp_path: Path, extra: bytes, size: int | None
) -> None:
    part_of(tmp_path).parent.mkdir()
    part_of(tmp_path).write_bytes(CONTENT + extra)
    assert get(source_of(server, size=size), tmp_path).read_bytes() == CONTENT


def test_another_file_is_refused_and_deleted(server: FileServer, tmp_path: Path) -> None:
    message = error_of(source_of(server, sha256="0" * 64), tmp_path)
    assert f"its sha256 is {SHA256}, not {'0' * 64}" in message
    assert list((tmp_path / "kept").iterdir()) == []


def test_another_size_is_refused(server: FileServer, tmp_path: Path) -> None:
    assert "bytes, not 1023000" in error_of(source_of(server, size=len(CONTENT) - 1000), tmp_path)
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(("status", "reason"), [(404, "404 Not Found"), (503, "503 Service")])
def test_a_refusal_has_the_status_of_the_server(
    server: FileServer, tmp_path: Path, status: int, reason: str
) -> None:
    server.status = status
    assert f"the server answered {reason}" in error_of(source_of(server), tmp_path)


def test_an_unavailable_server_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    message = error_of(Source(f"http://127.0.0.1:{port}/w.pt", 10, SHA256), tmp_path)
    assert "cannot be reached: Connection refused; check the network" in message
    message = error_of(Source("http://nowhere.invalid/w.pt", 10, SHA256), tmp_path)
    assert "cannot be reached" in message


def test_without_a_sha256_only_https_is_trusted(server: FileServer, tmp_path: Path) -> None:
    assert "no sha256 is known" in error_of(Source(f"{server.url}/weights.pt"), tmp_path)
    assert "only https and http" in error_of(Source("file:///etc/passwd"), tmp_path)


def test_published_networks_have_a_threshold_for_every_finding() -> None:
    for network in PUBLISHED:
        assert tuple(network.thresholds) == LABELS
        assert all(0 < value < 0.5 for value in network.thresholds.values())
        assert network.source().url.startswith("https://github.com/mlmed/torchxrayvision/")
    assert published("densenet121-res224-all").thresholds["Cardiomegaly"] == 0.050318155
    with pytest.raises(DownloadError, match="known are densenet121-res224-all"):
        published("all")


def test_published_weights_become_a_bundle_with_their_thresholds(tmp_path: Path) -> None:
    """The file here is a state dict with 18 outputs; the published ones are pickled modules."""
    network = random_network(channels=1, blocks=DENSENET_121)
    state = network.state_dict()
    rows = [LABELS.index(name) if name in LABELS else 0 for name in TORCHXRAYVISION_LABELS]
    for key in ("classifier.weight", "classifier.bias"):
        state[key] = state[key][rows]
    torch.save(state, tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    known = Published(
        "made-up",
        "w.pt",
        "nothing",
        dict.fromkeys(LABELS, 0.02),
        len(content),
        hashlib.sha256(content).hexdigest(),
    )
    with serve(FileServer(content, cuts=[len(content) // 2])) as server:
        bundle = import_published(
            known,
            tmp_path / "fetched",
            name=None,
            version="1",
            now=datetime(2026, 1, 1, tzinfo=UTC),
            mirror=f"{server.url}/",
            progress=False,
        )
        assert len(server.starts) == 2
    assert bundle.card.name == "made-up"
    assert bundle.card.provenance["sha256"] == known.sha256
    assert set(bundle.card.thresholds.values()) == {0.02}
    assert torch.equal(bundle.network().label_weight, network.classifier.weight)
