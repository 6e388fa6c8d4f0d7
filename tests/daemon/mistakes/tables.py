"""The mistakes: in the text of the configuration, at the start, and of commands."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from daemon.config.loading import load_config
from daemon.supervise.child import Child
from daemon.worker.board import Board, board_folder
from daemon.worker.role import RoleName
from tests.daemon.mistakes.place import YAML, Make, Mistake, Place, configured, written
from tests.servers.watching import small_disk
from tests.tools.ports import free_port

IN_THE_TEXT = [
    written("unknown section", "listner: {port: 1}", "unknown key listner; did you mean listener"),
    written("unknown key", "listener: {prt: 1}", r"unknown key listener\.prt; did you mean .*port"),
    written("number", "listener: {port: abc}", r"listener\.port: must be a whole number$"),
    written("unit", "study: {quiet_seconds: 30s}", "must be a number, without a unit"),
    written("large port", "listener: {port: 99999}", "must be less than or equal to 65535"),
    written("yes or no", "listener: {tls: maybe}", r"listener\.tls: must be true or false"),
    written("one peer, no list", "peers: {name: a}", "peers: must be a list: each item begins"),
    written("no space", "listener:\n  port:11112\n", "listener: must hold keys: each on its own"),
    written("title that YAML reads", "listener: {ae_title: NO}", "put the value in quotes"),
    written("long title", "listener: {ae_title: LONGER_THAN_SIXTEEN}", "1 to 16 characters"),
    written("missing key", "peers: [{name: a, sends: true}]", r"peers\.0\.ae_title: is missing"),
    written("no date", "statistics: {baseline_from: soon}", "must be a date, such as 2026"),
    written("log level", "log: {level: loud}", r"log\.level: must be 'debug', 'info', 'warning'"),
    written("tab", "listener:\n\tport: 1\n", "line 2 is not valid YAML: indent it with spaces"),
    written("no colon", "listener\n  port: 1\n", "line 2 is not valid YAML: .* the line before"),
    written("key twice", "data_dir: a\r\ndata_dir: b\r\n", "line 2: 'data_dir' is set in line 1"),
    written("Latin-1", "data_dir: Röntgen".encode("latin-1"), "is not text in UTF-8: save it"),
    written("UTF-16", "data_dir: x".encode("utf-16"), "is not text in UTF-8: save it"),
    written("a text alone", "11112", "must hold keys and values, such as"),
    written(
        "peer twice",
        "peers: [{name: a, ae_title: A, sends: true}, {name: a, ae_title: B, sends: true}]",
        "two peers, destinations or worklists are called 'a'; names must differ",
    ),
    written(
        "host with its port",
        "peers: [{name: a, ae_title: A, host: '10.0.0.1:104', port: 104, receives: [report]}]",
        r"peers\.0\.host: must be a name or an address alone: the port has its own key",
    ),
    written("no host", "peers: [{name: a, ae_title: A, receives: [report]}]", "both host and port"),
    written("one port twice", "web: {port: 11112}", "both listen at port 11112 .*another web.port"),
    Mistake(
        "no file", lambda _: None, "check -c none.yaml", "none.yaml: cannot be read .*--config"
    ),
    Mistake("a folder", lambda _: None, "check -c .", r"\.: cannot be read \(Is a directory\)"),
    Mistake(
        "variable unknown",
        lambda _: None,
        "check",
        "environment: unknown key CXRD_LISTENER__PRT; did you mean CXRD_LISTENER__PORT",
        {"CXRD_LISTENER__PRT": "1"},
    ),
    Mistake(
        "variable wrong",
        lambda at: at.configure(),
        "check",
        r"environment: CXRD_STUDY__QUIET_SECONDS: study\.quiet_seconds: must be a number",
        {"CXRD_STUDY__QUIET_SECONDS": "soon"},
    ),
]


def _port_in_use(section: str) -> Make:
    return lambda at: at.configure(**{section: {"port": at.taken()}})


def _second_daemon(at: Place) -> None:
    at.configure(listener={"port": at.taken()})
    config = load_config(at.folder / YAML)
    at.folder.joinpath("data").mkdir(mode=0o700)
    board = at.open.enter_context(Board(board_folder(config), time.monotonic))
    board.publish([Child(RoleName.LISTENER).status(config)])


def _read_only(at: Place) -> None:
    disk = at.open.enter_context(small_disk(at.folder / "disk", 1))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    at.configure(data_dir="disk/data")


def _certificate(of: str, key: str, ca: str = "ca.pem") -> Make:
    def make(at: Place) -> None:
        folder = at.pki().folder
        tls = {"certificate": f"{folder}/{of}", "key": f"{folder}/{key}", "ca": f"{folder}/{ca}"}
        at.configure(listener={"port": free_port(), "tls": True}, tls=tls)

    return make


def _open_key(at: Place) -> None:
    key = at.folder / "open.key"
    key.write_bytes(at.pki().of("cxrd").key.read_bytes())
    key.chmod(0o666)
    web = {"port": free_port(), "certificate": str(at.pki().of("cxrd").certificate)}
    at.configure(web={**web, "key": str(key)})


def _bundle(change: Callable[[Path], object]) -> Make:
    def make(at: Place) -> None:
        change(at.bundle())
        at.configure(model={"bundle": "bundle"})

    return make


def _reorder(bundle: Path) -> None:
    card = json.loads((bundle / "card.json").read_text())
    card["labels"].reverse()
    (bundle / "card.json").write_text(json.dumps(card))


def _flip_a_byte(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


STARTING = [
    Mistake("port in use", _port_in_use("listener"), "serve", r"port \d+ .*in use.*listener\.port"),
    Mistake("port of the page", _port_in_use("web"), "serve", r"port \d+ .*in use.*set web\.port"),
    Mistake("second daemon", _second_daemon, "serve", "already runs with the data_dir .*: stop it"),
    configured(
        "address of another machine",
        r"cannot listen on 192\.0\.2\.1:104 .*check listener\.host",
        listener={"host": "192.0.2.1", "port": 104},
    ),
    configured(
        "IPv6 address of another machine",
        r"cannot listen on \[2001:db8::1\]:104 .*check listener\.host",
        listener={"host": "2001:db8::1", "port": 104},
    ),
    configured(
        "page for all, without TLS",
        r"the token would cross the network in clear: set web\.certificate",
        web={"host": "0.0.0.0", "port": 8080},  # noqa: S104 - the mistake
    ),
    configured(
        "unknown role", "no role is called 'listner'; the roles are", "serve --only listner"
    ),
    configured("folder is a file", "data_dir cannot be .*a file is where a folder", data_dir=YAML),
    configured(
        "folder that is not there",
        "data_dir cannot be written: /proc: .*mount its disk",
        data_dir="/proc/cxrd",
    ),
    Mistake("read-only disk", _read_only, "serve", "data_dir cannot .*mount this file system for"),
    configured("no bundle", "no bundle at .*/none: name a folder with", model={"bundle": "none"}),
    Mistake(
        "bundle without its card",
        _bundle(lambda bundle: (bundle / "card.json").unlink()),
        "serve",
        "the bundle has no card.json: .*/bundle is incomplete",
    ),
    Mistake(
        "damaged bundle",
        _bundle(_flip_a_byte),
        "serve",
        "weights.safetensors is not the file .*; fetch or train the bundle again",
    ),
    Mistake("bundle of other labels", _bundle(_reorder), "serve", "NIH order: .*; use a bundle"),
    Mistake(
        "certificate of another key",
        _certificate("cxrd.pem", "pacs.key"),
        "serve",
        r"pacs\.key is not the key of .*cxrd\.pem; name the two",
    ),
    Mistake(
        "certificate and key exchanged",
        _certificate("cxrd.key", "cxrd.pem"),
        "serve",
        r"cxrd\.key holds no certificate in PEM form",
    ),
    Mistake(
        "no certificate",
        _certificate("none.pem", "cxrd.key"),
        "serve",
        r"none\.pem: the certificate file cannot be read .*; check name and permissions",
    ),
    Mistake("key that all may change", _open_key, "serve", "can be changed by every user: chmod"),
]


def no_file_of_a_store(at: Place) -> None:
    at.store().write_bytes(b"no store" * 1000)
    at.configure()


def newer_store(at: Place) -> None:
    connection = sqlite3.connect(at.store())
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("UPDATE node_facts SET value = '9998' WHERE name = 'compatible_from'")
    connection.commit()
    connection.close()
    at.configure()


def _stored(at: Place) -> None:
    at.store()
    at.configure()


def _full(leave_bytes: int) -> Make:
    def make(at: Place) -> None:
        _stored(at)
        at.disk(leave_bytes)

    return make


def _empty_folder(at: Place) -> None:
    at.configure()
    (at.folder / "films").mkdir()


def exported(name: str, make: Make, out: str, line: str) -> Mistake:
    """Return a mistake of an export, of which the audit trail says that it failed."""
    return Mistake(name, make, f"export --out {out}", line, is_audited=True)


NO_SPACE = "no space left for .*: free some"
COMMANDS = [
    configured("no store", "no store at .*--config, .*`cxrd serve` once", "export --out x.csv"),
    Mistake("damaged store", no_file_of_a_store, "export --out x.csv", "file is not a database"),
    Mistake("newer store", newer_store, "export --out x.csv", "newer version .*upgrade this soft"),
    exported("no such folder", _stored, "none/x.csv", "none/x.csv: .*: make its folder"),
    exported("table over a folder", _stored, "data", "data: Is a directory: name a file"),
    exported("full disk, export", _full(0), "disk/x.csv", NO_SPACE),
    Mistake(
        *("full disk, export of the trail", _full(0), "audit export --out disk/x.csv", NO_SPACE),
        is_audited=True,
    ),
    Mistake("full disk, backup", _full(65536), "backup --to disk", NO_SPACE, is_audited=True),
    Mistake("films not there", _stored, "analyse none --out out", "no such file or directory"),
    Mistake("no films", _empty_folder, "analyse films --out out", "no file found in .*films"),
]
