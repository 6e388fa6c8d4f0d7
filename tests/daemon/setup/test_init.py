"""`cxrd init`: answers become a configuration with the comments of the shipped file."""

import io
import re
import socket
from pathlib import Path

import pytest
import yaml

from daemon.config.loading import load_config
from daemon.config.settings import Config
from tests.tools.cli import cxrd, one_line_of_error
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network

SHIPPED = (ROOT / "config.yaml").read_text(encoding="utf-8")


@pytest.fixture
def ports() -> tuple[str, ...]:
    return ("--port", str(free_port()), "--web-port", str(free_port()))


def comments(text: str) -> list[str]:
    return [re.sub(r" +", " ", found) for found in re.findall(r"(?m)(?:^|\s)(#.*)$", text)]


def test_without_answers_it_is_the_shipped_file(tmp_path: Path, ports: tuple[str, ...]) -> None:
    done = cxrd("init", tmp_path / "etc" / "node", "--yes", *ports, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "etc" / "node" / "config.yaml"
    first, _, text = file.read_text("utf-8").partition("\n")
    assert first.startswith("# Written by `cxrd init` of cxrd ")
    assert comments(text) == comments(SHIPPED)
    changed = [
        line
        for line, was in zip(text.splitlines(), SHIPPED.splitlines(), strict=True)
        if line != was
    ]
    assert changed == [f"  port: {ports[1]}", f"  port: {ports[3]}"]
    assert {path.name for path in file.parent.iterdir()} == {"config.yaml"}
    assert file.parent.parent.stat().st_mode & 0o777 == 0o755
    assert file.stat().st_mode & 0o777 == 0o644


def test_answers_at_the_terminal(
    tmp_path: Path, ports: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong_first = ["A TITLE THAT IS TOO LONG", "LUNGS", "y", "PACS", HOST, "0", "104"]
    rest = ["n", "", HOST, "no number", ports[1], "films: new", "n", ports[3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(wrong_first + rest) + "\n"))
    done = cxrd("init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for said in ("an AE title has 1 to 16 characters", "a port is a number from 1 to 65535"):
        assert said in done.stdout
    config = load_config(tmp_path / "config.yaml")
    assert (config.listener.ae_title, str(config.listener.port)) == ("LUNGS", ports[1])
    assert config.data_dir == tmp_path / "films: new"
    (pacs,) = config.dicom_receivers
    assert (pacs.ae_title, pacs.host, pacs.port, pacs.sends) == ("PACS", HOST, 104, False)
    assert [peer.name for peer in config.senders] == ["storescu"]
    step = f"storescu -aec LUNGS {HOST} {ports[1]} FILM.dcm"
    assert step in done.stdout
    assert f"register the AE title LUNGS at this machine's address, port {ports[1]}" in done.stdout


def test_a_node_for_other_machines_takes_storescu_from_this_one_only(
    tmp_path: Path, ports: tuple[str, ...]
) -> None:
    pacs = ("--pacs-ae-title", "PACS", "--pacs-host", "192.0.2.10", "--no-pacs-receives")
    done = cxrd("init", "--yes", *ports, *pacs, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    config = load_config(tmp_path / "config.yaml")
    assert config.listener.host == "0.0.0.0"  # noqa: S104 - the default with a PACS elsewhere
    assert [(peer.name, peer.host) for peer in config.senders] == [
        ("storescu", "127.0.0.1"),
        ("pacs", "192.0.2.10"),
    ]
    assert config.receivers == ()


def test_names_of_the_pages_are_kept_without_a_certificate(
    tmp_path: Path, ports: tuple[str, ...]
) -> None:
    names = ("--web-name", "cxr.example", "--web-name", "cxr")
    assert cxrd("init", "--yes", *ports, *names, cwd=tmp_path).returncode == 0
    assert load_config(tmp_path / "config.yaml").web.allowed_hosts == ("cxr.example", "cxr")


def test_an_answer_that_cannot_work_is_asked_for_again(
    tmp_path: Path, ports: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = ["y", "PACS", "pacs:104", "http://pacs", HOST, "104", "y", "n"]
    answers = ["MY NODE", *pacs, "192.0.2.1", HOST, ports[1], "", "n", ports[1], ports[3]]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(answers) + "\n"))
    done = cxrd("init", "my node", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("must be a name or an address alone") == 2
    assert f"port {ports[1]} on {HOST} is this node's DICOM port; choose another" in done.stdout
    assert "cxrd serve --config 'my node/config.yaml'\n" in done.stdout
    assert f"storescu -aec 'MY NODE' {HOST}" in done.stdout


def test_a_file_is_replaced_by_force_only(tmp_path: Path, ports: tuple[str, ...]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listener: {ae_title: MINE}\n")
    line = one_line_of_error(cxrd("init", "--yes", cwd=tmp_path))
    assert line.endswith("exists; name another folder, or replace the file with --force")
    assert file.read_text() == "listener: {ae_title: MINE}\n"
    line = one_line_of_error(cxrd("init", "config.yaml", "--yes", "--force", cwd=tmp_path))
    assert line == "cxrd: config.yaml is a file; name the folder that config.yaml is written into"
    assert cxrd("init", "--yes", "--force", *ports, cwd=tmp_path).returncode == 0
    assert yaml.safe_load(file.read_text()).keys() == Config.model_fields.keys()


def test_a_file_with_a_secret_is_for_its_owner(tmp_path: Path, ports: tuple[str, ...]) -> None:
    url = "postgresql+psycopg://cxrd:pass-word@db/cxrd"
    done = cxrd("init", "--yes", "--database-url", url, *ports, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pass-word" not in done.stdout + done.stderr
    assert (tmp_path / "config.yaml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ae-title", "TOO LONG A TITLE FOR DICOM"), "--ae-title TOO LONG A TITLE FOR DICOM: an"),
        (("--port", "70000"), "--port 70000: a port is a number from 1 to 65535"),
        (("--pacs-host", "pacs"), "--pacs-ae-title is missing; without questions it has to be"),
        (("--host", ""), "--host : is empty: 127.0.0.1 is for this machine alone"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1: this machine cannot listen there ("),
        (("--pacs-ae-title", "A", "--pacs-host", "http://a"), "--pacs-host http://a: must be a"),
        (("--web-key", "key.pem"), "--web-certificate is missing"),
        (("--web-host", "0.0.0.0"), "--web-certificate is missing"),  # noqa: S104 - refused
        (("--data-dir", "/proc/films"), "/proc: "),
    ],
)
def test_a_wrong_option_leaves_nothing(
    tmp_path: Path, ports: tuple[str, ...], options: tuple[str, ...], message: str
) -> None:
    done = cxrd("init", "new", "--yes", *ports, *options, cwd=tmp_path)
    assert message in one_line_of_error(done)
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_named(tmp_path: Path, ports: tuple[str, ...]) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        line = one_line_of_error(cxrd("init", "--yes", *ports, "--port", port, cwd=tmp_path))
        assert line == f"cxrd: --port {port}: port {port} on {HOST} is in use; choose another"


def test_answers_that_end_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("LUNGS\n"))
    done = cxrd("init", cwd=tmp_path)
    assert done.returncode == 1
    assert "the input ended before the last answer; nothing is written" in done.stderr
    assert list(tmp_path.iterdir()) == []
