"""The running daemon over TLS with Orthanc and dcmtk, and the TLS checks of `cxrd check`."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.config.fields import SyslogConfig, TlsConfig
from daemon.config.peers import PeerConfig
from daemon.config.sections.roles import ListenerConfig
from daemon.config.settings import Config
from daemon.config.tls import ending_soon, listener_addresses
from daemon.preflight.host import check_certificates
from daemon.preflight.result import CheckResult
from dicom_io.errors import CertificateDateError, CertificateError
from dicom_io.peer.tls import Credentials, client_context, examine
from dicom_io.peer.tls_probe import probe
from dicom_io.read.header import read_header
from dicom_io.send.association import Destination
from dicom_io.send.sender import echo
from storage.audit.records import AuditKind
from tests.builders.certificates import PAGE, Authority
from tests.builders.certificates import run as run_openssl
from tests.builders.images.films import film
from tests.servers.dicom.orthanc import AE_TITLE, Orthanc, running_orthanc
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.role import running_listener
from tests.servers.running import RunningDaemon
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, NODE, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture
def tls_orthanc(tmp_path: Path, pki: Authority) -> Iterator[Orthanc]:
    """Return a configuration with the keys of docs/tls.md and the certificates of the test."""
    (settings,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    own = pki.of("pacs")
    files = {"pacs.pem": own.certificate, "pacs.key": own.key, "ca.pem": pki.ca}
    shown = {
        key: str(files.get(value, value)) if isinstance(value, str) else value
        for key, value in json.loads(settings).items()
        if key != "DicomModalities"
    }
    assert set(files) <= set(re.findall(r"\w+\.\w+", settings))
    with running_orthanc(tmp_path, shown) as running:
        yield running


def tls_changes(pki: Authority, port: int) -> dict[str, Any]:
    own = pki.of("cxrd")
    return {
        "listener": {"port": port, "tls": True},
        "tls": {"certificate": str(own.certificate), "key": str(own.key), "ca": str(pki.ca)},
    }


def orthanc_peer(orthanc: Orthanc, pin: str) -> dict[str, Any]:
    return {
        "name": "orthanc",
        "ae_title": AE_TITLE,
        "host": "localhost",
        "port": orthanc.dicom_port,
        "sends": True,
        "receives": ["report"],
        "tls": True,
        "certificate_sha256": [pin],
    }


def echoscu(port: int, pki: Authority, credentials: Credentials | None) -> int:
    own = ["+tla"] if credentials is None else ["+tls", credentials.key, credentials.certificate]
    command = [require_tool("echoscu"), "-aet", AE_TITLE, "-aec", NODE, *own, "+cf", pki.ca, HOST]
    return subprocess.run([*map(str, command), str(port)], check=False).returncode


@pytest.mark.slow
def test_only_orthanc_and_the_node_exchange_over_tls(
    tls_orthanc: Orthanc, tmp_path: Path, bundle: Path, pki: Authority, strangers: Authority
) -> None:
    pin = examine(pki.of("pacs")).sha256
    port = free_port()
    changes = {**tls_changes(pki, port), "peers": [orthanc_peer(tls_orthanc, pin)]}
    daemon = RunningDaemon(tmp_path / "node", bundle, 1, changes)
    daemon.port = port
    image = film("encrypted")
    with daemon:
        stored = tls_orthanc.call("/instances", image)
        tls_orthanc.know(daemon, UseDicomTls=True)
        tls_orthanc.call("/modalities/cxrd/store", stored["ID"].encode())
        wait_until(lambda: len(tls_orthanc.call("/instances")) == 2, "Orthanc has the report")
        assert echoscu(port, pki, pki.of("pacs")) == 0
        assert echoscu(port, pki, pki.of("modality")) != 0
        assert echoscu(port, pki, strangers.of("pacs")) != 0
        assert echoscu(port, pki, None) != 0
        plain = [require_tool("echoscu"), "-aet", AE_TITLE, "-aec", NODE, HOST, str(port)]
        assert subprocess.run(plain, check=False).returncode != 0
        checked = daemon.run("check")
    (study,) = tls_orthanc.call("/studies?expand")
    assert study["MainDicomTags"]["StudyInstanceUID"] == read_header(image).study_instance_uid
    for line in (
        "as 'ORTHANC' to 'CXRD' is rejected: the client certificate is not one that is trusted",
        "127.0.0.1 is refused: the client certificate is not one that is trusted for this peer",
        "127.0.0.1 is refused: a client certificate is required, and none was shown",
        "127.0.0.1 is refused: TLS is required, and the connection is plain",
    ):
        assert line in daemon.log
    assert f"{HOST}:{port} over TLS is in use by this node, which runs" in checked.stdout
    assert re.search(r"ok +certificates: tls\.certificate ends in \d+ day", checked.stdout)
    assert re.search(r"ok +peer orthanc: .*its certificate ends in \d+ day", checked.stdout)


def test_plain_and_tls_side_by_side(tmp_path: Path, pki: Authority) -> None:
    port, tls_port = free_port(), free_port()
    config = Config(
        data_dir=tmp_path,
        listener=ListenerConfig(port=port, tls=True, tls_port=tls_port),
        tls=TlsConfig(certificate=pki.of("cxrd").certificate, key=pki.of("cxrd").key, ca=pki.ca),
        peers=(PeerConfig(name="any", ae_title=AE_TITLE, sends=True),),
    )
    with running_listener(config):
        plain = [require_tool("echoscu"), "-aet", AE_TITLE, "-aec", NODE, HOST, str(port)]
        assert subprocess.run(plain, check=False).returncode == 0
        assert echoscu(tls_port, pki, pki.of("modality")) == 0
        assert echoscu(tls_port, pki, None) != 0


@pytest.mark.slow
def test_check_names_the_problem_of_a_destination(
    tmp_path: Path, bundle: Path, pki: Authority, strangers: Authority
) -> None:
    port = free_port()
    peers = [
        {
            "name": "plain",
            "ae_title": "PACS",
            "host": "localhost",
            "port": port,
            "receives": ["report"],
            "tls": True,
        }
    ]
    changes = {**tls_changes(pki, free_port()), "peers": peers}
    daemon = RunningDaemon(tmp_path / "node", bundle, 1, changes)
    server = [require_tool("storescp"), "-od", str(tmp_path), str(port)]
    with subprocess.Popen(server, stderr=subprocess.DEVNULL) as storescp:
        try:
            wait_until(lambda: _listens(port), "storescp listens")
            said = daemon.run("check").stdout
        finally:
            storescp.terminate()
    assert "FAILED  peer plain: no TLS connection" in said
    assert "set tls: false" in said


@pytest.mark.slow
def test_a_certificate_that_expires_soon_is_a_warning(tmp_path: Path, pki: Authority) -> None:
    def warned(days: int) -> tuple[list[str], CheckResult]:
        soon = pki.issue(f"in-{days}-days", days=days)
        tls = TlsConfig(certificate=soon.certificate, key=soon.key, ca=pki.ca)
        config = Config(data_dir=tmp_path, listener=ListenerConfig(tls=True), tls=tls)
        return ending_soon(config), check_certificates(config)

    lines, result = warned(20)
    assert len(lines) == 1
    assert re.fullmatch(r"tls\.certificate ends in (19|20) day\(s\): renew it", lines[0])
    assert not result.passed
    lines, result = warned(40)
    assert lines == []
    assert result.passed
    lines, result = warned(-1)
    assert len(lines) == 1
    assert re.fullmatch(r"tls\.certificate expired on [\d-]{10}; renew it", lines[0])
    assert not result.passed
    assert result.detail == lines[0]


@pytest.mark.parametrize("days", [20, -1])
def test_an_expiring_certificate_for_the_syslog_server_is_a_warning(
    tmp_path: Path, pki: Authority, days: int
) -> None:
    soon = pki.issue("syslog", days=days)
    syslog = SyslogConfig(host=HOST, certificate=soon.certificate, key=soon.key)
    (line,) = ending_soon(Config(data_dir=tmp_path, syslog=syslog))
    said = r"expired on [\d-]{10}" if days < 0 else r"ends in (19|20) day\(s\)"
    assert re.fullmatch(rf"syslog\.certificate {said}(:|;) renew it", line)
    nowhere = syslog.model_copy(update={"host": None})
    assert ending_soon(Config(data_dir=tmp_path, syslog=nowhere)) == []


def test_the_certificate_for_the_syslog_server_may_be_for_clients_only(
    tmp_path: Path, pki: Authority
) -> None:
    def shown(usage: str) -> Config:
        run_openssl(
            tmp_path,
            "openssl req -x509 -newkey rsa:2048 -nodes -sha256 -days 397 -subj /CN=cxrd"
            f" -addext extendedKeyUsage={usage} -keyout own.key -out own.pem",
        )
        own = Credentials(tmp_path / "own.pem", tmp_path / "own.key")
        syslog = SyslogConfig(host=HOST, certificate=own.certificate, key=own.key)
        return Config(data_dir=tmp_path, syslog=syslog)

    result = check_certificates(shown("clientAuth"))
    assert result.passed
    assert re.fullmatch(r"syslog\.certificate ends in 39[67] day\(s\)", result.detail)
    with pytest.raises(CertificateError, match="may not be used as a client"):
        check_certificates(shown("serverAuth"))


def test_expired_certificate_closes_the_tls_port_alone(tmp_path: Path, pki: Authority) -> None:
    own = pki.issue("ended", days=-1)
    port, tls_port = free_port(), free_port()
    tls = TlsConfig(certificate=own.certificate, key=own.key, ca=pki.ca)
    peers = (PeerConfig(name="any", ae_title=AE_TITLE, sends=True),)
    config = Config(
        data_dir=tmp_path,
        listener=ListenerConfig(port=port, tls=True, tls_port=tls_port),
        tls=tls,
        peers=peers,
    )
    with running_listener(config):
        assert echo(Destination("node", NODE, HOST, port, AE_TITLE)).ok
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, tls_port))
    alone = Config(
        data_dir=tmp_path, listener=ListenerConfig(port=port, tls=True), tls=tls, peers=peers
    )
    with pytest.raises(CertificateDateError, match="expired on"):
        listener_addresses(alone)


@pytest.mark.slow
def test_expired_web_certificate_stops_the_page_alone_until_it_is_renewed(
    tmp_path: Path, bundle: Path, pki: Authority
) -> None:
    own = pki.issue("page", days=-1)
    port = free_port()
    web = {"port": port, "certificate": str(own.certificate), "key": str(own.key)}
    with (
        RecordingPacs(tmp_path / "pacs") as pacs,
        RunningDaemon(tmp_path / "node", bundle, pacs.port, {"web": web}) as daemon,
    ):
        daemon.send(film("study"))
        wait_until(lambda: "web stopped: " in daemon.log, "the web role is given up")
        (ready,) = [line for line in daemon.log.splitlines() if "cxrd is ready" in line]
        assert re.search(r"ready: listener \d+ ms, analyst \d+ ms, courier \d+ ms; ", ready)
        assert "status page" not in ready
        assert re.search(r"web\.certificate expired on [\d-]{10}; renew it", daemon.log)
        assert re.search(r"web stopped: .*page\.pem expired on .*; restarting in", daemon.log)
        wait_until(lambda: len(pacs.of("SR")) == 1, "the report comes")
        wait_until(lambda: daemon.log.count("web stopped: ") > 1, "the web role is tried again")
        with daemon.store() as store:
            failed = [row for row in store.audit.rows() if row.kind == AuditKind.ROLE_FAILED]
        assert len(failed) == 1
        pki.issue("page")
        wait_until(lambda: _listens_to_tls(port, pki), "the page is there")
        assert daemon.stop()[0] == 0


def _listens_to_tls(port: int, pki: Authority) -> bool:
    return probe(HOST, port, client_context(pki.ca), 5).problem is None


def _listens(port: int) -> bool:
    probe = [require_tool("echoscu"), HOST, str(port)]
    return subprocess.run(probe, check=False, stderr=subprocess.DEVNULL).returncode == 0
