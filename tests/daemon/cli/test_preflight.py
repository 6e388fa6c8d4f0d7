"""`cxrd check`: the result of each check."""

import socket
from pathlib import Path
from typing import Any

import pytest

from daemon.config.fields import SyslogConfig, SyslogTransport, TlsConfig
from daemon.config.peers import PeerConfig, PictureSyntax, Product
from daemon.config.settings import Config, ListenerConfig, ModelConfig
from daemon.preflight.checks import run_checks
from daemon.preflight.result import CheckResult
from dicom_io.objects.classes import HEATMAP_CLASS, PLAIN_SYNTAXES, REPORT_CLASS
from dicom_io.objects.compression import RLE
from dicom_io.peer.tls import ClientCertificate, examine
from tests.builders.certificates import Authority
from tests.servers.dicom.storage_archive import storage_archive
from tests.servers.role import running_listener
from tests.servers.syslog_server import Certificate, StreamServer, server_tls
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

PICTURES = (Product.REPORT, Product.HEATMAP)


def configuration(folder: Path, bundle: Path, **sections: Any) -> Config:
    """Return a configuration without peers on a free port, changed by `sections`."""
    values = {"listener": ListenerConfig(port=free_port()), "peers": (), **sections}
    return Config(data_dir=folder, model=ModelConfig(bundle=str(bundle), threads=1), **values)


def results_of(config: Config, name: str) -> list[CheckResult]:
    return [result for result in run_checks(config) if result.name == name]


def result_of(config: Config, name: str) -> CheckResult:
    (result,) = results_of(config, name)
    return result


def destination_check(
    folder: Path, bundle: Path, port: int, receives: tuple[Product, ...]
) -> CheckResult:
    """Check a destination that prefers RLE."""
    peer = PeerConfig(
        name="archive",
        ae_title="PACS",
        host=HOST,
        port=port,
        sends=True,
        receives=receives,
        picture_syntax=PictureSyntax.RLE,
    )
    *_, last = run_checks(configuration(folder, bundle, peers=(peer,)))
    return last


@pytest.mark.parametrize("takes_rle", [True, False])
def test_an_unaccepted_picture_syntax_is_named_and_passes(
    tmp_path: Path, bundle: Path, takes_rle: bool
) -> None:
    syntaxes = (*PLAIN_SYNTAXES, *((RLE,) if takes_rle else ()))
    with storage_archive(classes=(REPORT_CLASS, HEATMAP_CLASS), syntaxes=syntaxes) as destination:
        result = destination_check(tmp_path, bundle, destination.port, PICTURES)
    assert result.passed
    assert ("pictures go uncompressed" in result.detail) is not takes_rle


def test_an_unaccepted_sop_class_is_named(tmp_path: Path, bundle: Path) -> None:
    with storage_archive(classes=(REPORT_CLASS, HEATMAP_CLASS)) as destination:
        receives = (*PICTURES, Product.SEGMENTATION)
        result = destination_check(tmp_path, bundle, destination.port, receives)
    assert not result.passed
    assert "Segmentation Storage" in result.detail
    assert "Presentation State" not in result.detail


def pinned(pki: Authority, *more: PeerConfig) -> tuple[PeerConfig, ...]:
    pin = (examine(pki.of("pacs")).sha256,)
    return PeerConfig(name="a", ae_title="A", sends=True, certificate_sha256=pin), *more


def test_a_running_daemon_is_called_as_a_peer_that_may_call_without_tls(
    tmp_path: Path, bundle: Path, pki: Authority
) -> None:
    """The first peer has a pinned certificate, the second another host."""
    elsewhere = PeerConfig(name="b", ae_title="B", sends=True, host="192.0.2.7")
    strict = configuration(
        tmp_path,
        bundle,
        listener=ListenerConfig(port=free_port(), tls=True, tls_port=free_port()),
        tls=TlsConfig(certificate=pki.of("cxrd").certificate, key=pki.of("cxrd").key, ca=pki.ca),
        peers=pinned(pki, elsewhere),
    )
    from_anywhere = PeerConfig(name="c", ae_title="C", sends=True)
    open_config = strict.model_copy(update={"peers": (*strict.peers, from_anywhere)})
    with running_listener(open_config):
        for config, detail in (
            (open_config, "answers: the daemon is running"),
            (strict, "probably by this daemon"),
        ):
            results = results_of(config, "listener")
            assert [result.passed for result in results] == [True, True]
            assert detail in results[0].detail
            assert "answers: the daemon is running" in results[1].detail


@pytest.mark.parametrize("asked", list(ClientCertificate))
def test_a_running_daemon_is_known_by_its_own_certificate(
    tmp_path: Path, bundle: Path, pki: Authority, strangers: Authority, asked: ClientCertificate
) -> None:
    """Its CA and its demand for client certificates do not matter."""
    own = strangers.of("cxrd")
    config = configuration(
        tmp_path,
        bundle,
        listener=ListenerConfig(port=free_port(), tls=True),
        tls=TlsConfig(
            certificate=own.certificate, key=own.key, ca=pki.ca, client_certificate=asked
        ),
        peers=(PeerConfig(name="any", ae_title="A", sends=True),),
    )
    with running_listener(config):
        assert result_of(config, "listener").passed
        other = pki.of("cxrd")
        tls = config.tls.model_copy(update={"certificate": other.certificate, "key": other.key})
        result = result_of(config.model_copy(update={"tls": tls}), "listener")
    assert not result.passed
    assert "taken by another program" in result.detail


def has_ipv6() -> bool:
    """Return True if this machine has IPv6; many containers have not."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_listener_of_ipv6_is_checked(tmp_path: Path, bundle: Path, host: str) -> None:
    config = configuration(
        tmp_path,
        bundle,
        listener=ListenerConfig(host=host, port=free_port()),
        peers=(PeerConfig(name="here", ae_title="A", host="::1", sends=True),),
    )
    free = result_of(config, "listener")
    assert free.passed
    assert f"CXRD at [{host}]:{config.listener.port} is free to listen on" in free.detail
    with running_listener(config):
        taken = result_of(config, "listener")
    assert taken.passed
    assert "answers: the daemon is running" in taken.detail


def test_a_listener_of_an_unknown_host_is_named(tmp_path: Path, bundle: Path) -> None:
    listener = ListenerConfig(host="no.such.invalid", port=free_port())
    config = configuration(tmp_path, bundle, listener=listener)
    result = result_of(config, "listener")
    assert not result.passed
    assert "cannot listen on " in result.detail


@pytest.mark.parametrize("transport", list(SyslogTransport))
@pytest.mark.parametrize("patient_ids", [True, False])
def test_unencrypted_patient_ids_fail_the_check(
    tmp_path: Path, bundle: Path, transport: SyslogTransport, patient_ids: bool
) -> None:
    config = configuration(
        tmp_path,
        bundle,
        syslog=SyslogConfig(
            host=HOST, port=free_port(), transport=transport, patient_ids=patient_ids
        ),
    )
    failed = [result.detail for result in results_of(config, "syslog") if not result.passed]
    in_clear = [detail for detail in failed if "patient_ids is true" in detail]
    expected = patient_ids and transport is not SyslogTransport.TLS
    assert len(in_clear) == int(expected)
    if in_clear:
        assert f"{transport} sends them in clear: set transport to tls" in in_clear[0]


def test_the_certificate_for_the_syslog_server_is_checked(
    tmp_path: Path, bundle: Path, pki: Authority
) -> None:
    soon = pki.issue("syslog-soon", days=20)
    config = configuration(
        tmp_path,
        bundle,
        syslog=SyslogConfig(
            host=HOST, port=free_port(), certificate=soon.certificate, key=soon.key
        ),
    )
    result = result_of(config, "certificates")
    assert not result.passed
    assert result.detail.startswith("syslog.certificate ends in ")


def test_an_unreachable_syslog_server_is_named(tmp_path: Path, bundle: Path) -> None:
    def syslog(port: int) -> CheckResult:
        section = SyslogConfig(host=HOST, port=port, transport=SyslogTransport.TCP)
        return result_of(configuration(tmp_path, bundle, syslog=section), "syslog")

    with StreamServer() as server:
        assert syslog(server.port).passed
    refused = syslog(free_port())
    assert not refused.passed
    assert "cannot be reached" in refused.detail


def test_a_syslog_server_that_wants_a_certificate_is_named(
    tmp_path: Path, bundle: Path, pki: Authority
) -> None:
    own, client = (
        Certificate(pki.of(name).certificate, pki.of(name).key) for name in ("pacs", "cxrd")
    )
    with StreamServer(server_tls(own, client), looks_seconds=0.2) as server:
        section = SyslogConfig(host=HOST, port=server.port, ca=pki.ca)
        result = result_of(configuration(tmp_path, bundle, syslog=section), "syslog")
    assert not result.passed
    assert "want a client certificate" in result.detail
