"""Typical mistakes of an installation: the one line that names each, and that nothing is harmed.

Each mistake is made with a real command in a folder of its own. The command ends with status 1 and
one line; it leaves no file behind and changes none.
"""

import ast
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cxr_model.files.bundle_files import STARTER
from cxrd.__main__ import too_old
from dicom_io.send.association import Destination
from dicom_io.send.sender import echo
from storage.store import Store
from tests.builders.certificates import Authority
from tests.builders.images.films import film
from tests.daemon.mistakes.place import STORE, Mistake, Place
from tests.daemon.mistakes.tables import (
    COMMANDS,
    IN_THE_TEXT,
    NO_SPACE,
    STARTING,
    newer_store,
    no_file_of_a_store,
)
from tests.servers.running import RunningDaemon
from tests.tools.cli import cxrd, cxrd_process, one_line_of_error
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, NODE, SENDER, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

PEER = {"name": "pacs", "ae_title": "PACS", "host": HOST, "port": 104, "receives": ["report"]}


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as opened:
        yield Place(tmp_path, lambda: request.getfixturevalue("pki"), opened)


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the files in a folder with their bytes, without the names of locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
    }


def ends_in_one_line(place: Place, mistake: Mistake, command: Callable[..., Any] = cxrd) -> None:
    mistake.make(place)
    before = files_in(place.folder)
    done = command(*mistake.command.split(), cwd=place.folder, variables=mistake.variables)
    assert re.search(mistake.line, one_line_of_error(done)), done.stderr
    assert done.stdout == ""
    after = files_in(place.folder)
    if mistake.is_audited:
        assert after.pop(STORE) != before.pop(STORE)
    assert after == before


@pytest.mark.parametrize("mistake", [*IN_THE_TEXT, *STARTING, *COMMANDS], ids=lambda one: one.name)
def test_a_mistake_is_one_line_and_changes_nothing(place: Place, mistake: Mistake) -> None:
    ends_in_one_line(place, mistake)


WITH_PROCESSES = [
    Mistake("damaged store", no_file_of_a_store, "serve", "is damaged .*: keep a copy.*restore a"),
    Mistake("newer store", newer_store, "serve", "newer version .*: upgrade this software"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mistake", WITH_PROCESSES, ids=lambda one: one.name)
def test_a_store_that_cannot_be_used_keeps_the_daemon_from_starting(
    place: Place, mistake: Mistake
) -> None:
    ends_in_one_line(place, mistake, cxrd_process)


@pytest.mark.slow
def test_a_daemon_on_a_full_disk_starts_when_there_is_space_again(place: Place) -> None:
    disk = place.disk(4096)
    place.configure(data_dir="disk/data")
    line = one_line_of_error(cxrd_process("serve", cwd=place.folder))
    assert re.search(NO_SPACE, line)
    (disk / "ballast").unlink()
    with Store.open(f"sqlite:///{disk / STORE}", migrate=True) as store:
        assert store.status.job_counts() == {}


@pytest.mark.slow
def test_analyse_on_a_full_disk_leaves_no_half_file(place: Place) -> None:
    (place.folder / "film.dcm").write_bytes(film("1"))
    place.disk(65536)
    place.configure(model={"device": "cpu", "threads": 1})
    done = cxrd_process("analyse", "film.dcm", "--out", "disk/out", cwd=place.folder)
    assert re.search(NO_SPACE, one_line_of_error(done))
    assert [path.name for path in (place.folder / "disk").rglob("*.tmp")] == []


@pytest.mark.slow
def test_analyse_of_other_files_says_what_they_are(place: Place) -> None:
    place.configure(model={"device": "cpu", "threads": 1})
    (place.folder / "letter.txt").write_text("no film")
    done = cxrd_process("analyse", "letter.txt", "--out", "out", cwd=place.folder)
    assert done.returncode == 1
    assert "letter.txt: not analysed: UNSUPPORTED_FILE: a text file" in done.stderr
    assert "cxrd: no image found; the rows of the report say what" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def no_answer() -> Iterator[Callable[[bool], int]]:
    """Ports that take a connection and stay silent, or take none and drop its packets."""
    with ExitStack() as opened:

        def port(is_dropping: bool) -> int:
            server = opened.enter_context(socket.socket())
            server.bind((HOST, 0))
            server.listen(0 if is_dropping else 5)
            for _ in range(3 * is_dropping):
                caller = opened.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex(server.getsockname())
            return int(server.getsockname()[1])

        yield port


@pytest.mark.slow
def test_check_names_the_side_of_each_fault_of_the_network(
    place: Place, no_answer: Callable[[bool], int], pki: Authority
) -> None:
    """Both timeouts are short here: each call ends within its own."""
    closed = free_port()
    over = pki.issue("over", days=-1)
    called = {"listener": {"check_called_ae_title": True}}
    node = RunningDaemon(place.folder / "there", STARTER, closed, called)
    node.options = ("--only", "listener")
    peers: dict[str, dict[str, object]] = {
        "closed": {"port": closed},
        "dropping": {"port": no_answer(True)},
        "silent": {"port": no_answer(False)},
        "unnamed": {"host": "no-such-host.invalid"},
        "misnamed": {"ae_title": "OTHER", "port": node.port},
    }
    place.configure(
        listener={
            "ae_title": SENDER,
            "port": free_port(),
            "tls": True,
            "tls_port": free_port(),
        },
        tls={"certificate": str(over.certificate), "key": str(over.key), "ca": str(pki.ca)},
        model={"bundle": "none"},
        courier={"network_timeout_seconds": 0.5},
        syslog={"host": HOST, "port": closed, "transport": "tcp"},
        peers=[{**PEER, "name": name, **change} for name, change in peers.items()],
    )
    with node:
        done = cxrd_process("check", cwd=place.folder)
        stranger = echo(Destination("node", NODE, HOST, node.port, "STRANGER")).diagnosis
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    for expected in (
        r"certificates: tls\.certificate expired on",
        r"syslog: .* cannot be reached \(Connection refused\): check syslog\.host",
        "peers: no peer has `sends: true`",
        "peer closed: no connection to .*check host and port",
        "peer dropping: no connection to .*and the firewall between",
        "peer silent: .* took the connection but gave no answer as a DICOM node; check that",
        "peer unnamed: no connection to .*check the host name",
        "peer misnamed: .*it is not called 'OTHER'; set ae_title of this peer",
        "model: no bundle at .*none",
    ):
        assert re.search(f"(?m)^FAILED +{expected}", done.stdout), f"{expected}\n{done.stdout}"
    assert "it does not know the calling AE title 'STRANGER'; register this title" in stranger
    for reason in ("called AE title is not this node's", "calling AE title is not a known sender"):
        assert re.search(f"association from .* is rejected: {reason}", node.log), node.log


def test_an_old_python_is_named_before_anything_is_imported() -> None:
    assert too_old((3, 10)).startswith("this is Python 3.10, and cxrd needs 3.11 or newer: make")
    assert too_old((3, 11)) == too_old((4, 0)) == ""
    start = (ROOT / "cxrd" / "__main__.py").read_text(encoding="utf-8")
    ast.parse(start, feature_version=(3, 7))


def test_a_configuration_that_this_user_may_not_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests may run as root, who may read every file."""
    place.configure()

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "read_text", refuse)
    line = one_line_of_error(cxrd("check", cwd=place.folder))
    assert "cannot be read by this user: run cxrd as its owner, or let" in line


def test_a_start_without_a_configuration_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.supervise.supervisor.Supervisor.run", lambda *_: None)
    # It would stay in this process.
    monkeypatch.setattr("daemon.worker.logs.setup.log_uncaught", lambda _: None)
    variables = {"CXRD_LISTENER__PORT": str(free_port()), "CXRD_WEB__PORT": str(free_port())}
    done = cxrd("serve", cwd=tmp_path, variables=variables)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"no config.yaml in this folder: the defaults are used, with the data in {tmp_path}" in (
        done.stderr
    )
