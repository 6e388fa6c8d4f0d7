"""Orthanc, rsyslog, nginx and compose work with the files of `deploy/`."""

import base64
import datetime
import getpass
import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from daemon.audit.syslog import NOTICE, SyslogConnection, frame
from daemon.config.fields import SyslogConfig
from dicom_io.phantom import PhantomFilm, build_film
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.servers.running import RunningDaemon
from tests.servers.website import running_site
from tests.tools.installed import require_tool
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]
DEPLOY = ROOT / "deploy"


def adapted(source: Path, target: Path, changes: Mapping[str, object]) -> Path:
    """Write a file of `deploy/` with the paths and ports of this test."""
    text = source.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{source.name} has no {old}"
        text = text.replace(old, str(new))
    target.write_text(text, encoding="utf-8")
    return target


@contextmanager
def running(*command: object, folder: Path) -> Iterator[Path]:
    """Run a server; yield its log."""
    log = folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen([*map(str, command)], stdout=output, stderr=output) as server,
    ):
        try:
            yield log
        finally:
            server.terminate()


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def test_orthanc_forwards_a_film_and_gets_its_results(bundle: Path, tmp_path: Path) -> None:
    compose, dicom, http = DEPLOY / "compose", free_port(), free_port()
    daemon = RunningDaemon(tmp_path / "node", bundle, dicom)
    given = yaml.safe_load((compose / "config.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load(daemon.config.read_text(encoding="utf-8"))
    given["peers"][0] |= {"host": HOST, "port": dicom, "commitment": False}
    changed = {**own, "listener": given["listener"] | own["listener"], "peers": given["peers"]}
    daemon.config.write_text(yaml.safe_dump(changed), encoding="utf-8")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    forward = adapted(compose / "forward.lua", tmp_path / "forward.lua", {})
    adapted(
        compose / "orthanc.json",
        folder / "orthanc.json",
        {
            "/var/lib/orthanc/db": tmp_path / "archive",
            "/etc/orthanc/forward.lua": forward,
            '"Host": "cxrd"': f'"Host": "{HOST}"',
            "11112": daemon.port,
            "4242": dicom,
            "8042": http,
        },
    )
    users = json.dumps({"RegisteredUsers": {"admin": "secret"}})
    (folder / "users.json").write_text(users, encoding="utf-8")

    def call(path: str, body: bytes | None = None) -> object:
        request = urllib.request.Request(f"http://{HOST}:{http}{path}", body)
        login = base64.b64encode(b"admin:secret").decode()
        request.add_header("Authorization", f"Basic {login}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def modalities() -> set[str]:
        series = call("/series?expand")
        assert isinstance(series, list)
        return {each["MainDicomTags"]["Modality"] for each in series}

    with daemon, running(require_tool("Orthanc"), folder, folder=tmp_path) as log:
        wait_until(lambda: answers(f"http://{HOST}:{http}/system"), "Orthanc answers")
        film = PhantomFilm("1", "1.2.3", rows=512, columns=448)
        call("/instances", build_film(film, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)))
        wait_until(lambda: {"SR", "PR"} < modalities(), "the results are in Orthanc")
        assert daemon.log.count("from ORTHANC: new") == 1, log.read_text(errors="replace")


def test_rsyslog_writes_the_audit_trail(tmp_path: Path, pki: Authority) -> None:
    tool, port = require_tool("rsyslogd"), free_port()
    server, node = pki.of("pacs"), pki.of("cxrd")
    written = tmp_path / "log" / "audit.log"
    config = adapted(
        DEPLOY / "rsyslog" / "cxrd-audit.conf",
        tmp_path / "rsyslog.conf",
        {
            "/etc/rsyslog.d/tls/ca.pem": pki.ca,
            "/etc/rsyslog.d/tls/server.pem": server.certificate,
            "/etc/rsyslog.d/tls/server.key": server.key,
            "/var/log/cxrd/audit.log": written,
            '"6514"': f'"{port}"',
        },
    )
    subprocess.run([tool, "-N1", "-f", config], check=True, capture_output=True)
    sender = SyslogConfig(
        host="localhost", port=port, ca=pki.ca, certificate=node.certificate, key=node.key
    )
    text = "<AuditMessage>Röntgen</AuditMessage>"
    message = frame(text, severity=NOTICE, at=utc_now(), host="node")
    with running(tool, "-n", "-f", config, "-i", tmp_path / "pid", folder=tmp_path):
        wait_until(lambda: _sent(sender, message), "rsyslog takes a message")
        wait_until(lambda: written.exists() and text in written.read_text("utf-8"), "the file")
    (line, *_) = written.read_text("utf-8").splitlines()
    assert line.startswith("<85>1 ")
    assert " node cxrd " in line
    assert written.stat().st_mode & 0o777 == 0o640


def _sent(config: SyslogConfig, message: bytes) -> bool:
    try:
        with SyslogConnection(config, 5) as connection:
            connection.send(message)
            connection.flush()
    except Exception:  # noqa: BLE001 - the server starts
        return False
    return True


def test_nginx_names_the_user_who_logged_in(tmp_path: Path, pki: Authority) -> None:
    tool, port = require_tool("nginx"), free_port()
    web = yaml.safe_load((DEPLOY / "reverse-proxy" / "config.yaml").read_text("utf-8"))["web"]
    web |= {"port": free_port(), "allowed_hosts": ["localhost"]}
    own = pki.of("cxrd")
    (tmp_path / "users").write_text("ines:{PLAIN}one\neve:{PLAIN}two\n", encoding="utf-8")
    site = adapted(
        DEPLOY / "reverse-proxy" / "nginx.conf",
        tmp_path / "site.conf",
        {
            "listen 80;": f"listen {HOST}:{free_port()};",
            "listen 443 ssl;": f"listen {HOST}:{port} ssl;",
            "127.0.0.1:8080": f"127.0.0.1:{web['port']}",
            "cxrd.example.org": "localhost",
            "/etc/nginx/cxrd.pem": own.certificate,
            "/etc/nginx/cxrd.key": own.key,
            "/etc/nginx/cxrd.users": tmp_path / "users",
        },
    )
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"user {getpass.getuser()};\ndaemon off;\npid {tmp_path}/pid;\n"
        f"error_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include {site};\n}}\n",
        encoding="utf-8",
    )
    subprocess.run([tool, "-t", "-c", main], check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(pki.ca))

    def ask(path: str, **headers: str) -> int:
        request = urllib.request.Request(f"https://localhost:{port}{path}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    (tmp_path / "data").mkdir(mode=0o700)
    with (
        Store.open(f"sqlite:///{tmp_path / 'data' / 'cxrd.sqlite'}", migrate=True),
        running_site(tmp_path / "data", web=web) as node,
        running(tool, "-c", main, folder=tmp_path),
    ):
        wait_until(lambda: _listens(port), "nginx listens")
        login = {name: _basic(name, secret) for name, secret in (("ines", "one"), ("eve", "two"))}
        assert ask("/studies") == 401
        assert ask("/studies", Authorization=login["ines"]) == 200
        assert ask("/audit", Authorization=login["ines"]) == 200
        assert ask("/studies", Authorization=login["eve"]) == 403  # no role
        assert ask("/api/studies", X_Forwarded_User="ines") == 401  # a forged header
        assert ask("/metrics", Authorization=f"Bearer {node.token}") == 200


def _basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"


def _listens(port: int) -> bool:

    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_compose_is_understood() -> None:
    tool = require_tool("docker-compose")
    done = subprocess.run(
        [tool, "-f", DEPLOY / "compose" / "compose.yaml", "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
