"""`cxrd check`: the result of each check."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from daemon.config.fields import SyslogConfig, SyslogTransport, TlsConfig
from daemon.config.peers import PeerConfig
from daemon.config.receivers import PictureSyntax, Product
from daemon.config.sections.roles import ListenerConfig
from daemon.config.sections.web import WebConfig
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.preflight.checks import quick_checks, run_checks
from daemon.preflight.model import check_model
from daemon.preflight.result import CheckResult
from daemon.worker.board import RoleState
from daemon.worker.listening import addresses_of
from daemon.worker.role import RoleName
from dicom_io.objects.classes import HEATMAP_CLASS, PLAIN_SYNTAXES, REPORT_CLASS
from dicom_io.objects.compression import RLE
from storage.errors import StorageError
from storage.store import Store
from storage.tables.database import Database, open_database
from storage.tables.upgrade import is_current, migrate
from tests.builders.certificates import Authority
from tests.servers.dicom.storage_archive import storage_archive
from tests.servers.plain.syslog_server import Certificate, StreamServer, server_tls
from tests.servers.role import running_listener
from tests.servers.watching import children_of
from tests.servers.website import status_of, supervised
from tests.tools.paths import ROOT
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

PICTURES = (Product.REPORT, Product.HEATMAP)


def configuration(folder: Path, bundle: Path, **sections: Any) -> Config:
    """Return a configuration without peers on a free port, changed by `sections`."""
    values = {
        "listener": ListenerConfig(port=free_port()),
        "web": WebConfig(port=free_port()),
        "peers": (),
        **sections,
    }
    return Config(data_dir=folder, model=ModelConfig(bundle=str(bundle), threads=1), **values)


def results_of(config: Config, name: str) -> list[CheckResult]:
    return [result for result in quick_checks(config) if result.name == name]


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
    return result_of(configuration(folder, bundle, peers=(peer,)), "peer archive")


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
        with supervised(config, status_of(config, RoleName.LISTENER)):
            own = result_of(config, "listener")
    assert not taken.passed
    assert "taken by another program: stop that one" in taken.detail
    assert own.passed
    assert "in use by this node, which runs" in own.detail


@pytest.mark.parametrize("role", [RoleName.LISTENER, RoleName.WEB])
@pytest.mark.parametrize(
    ("state", "reason", "is_own"),
    [
        (RoleState.UP, "", True),
        (RoleState.STARTING, "", True),
        (RoleState.DOWN, "port in use", False),
        (RoleState.STARTING, "port in use", False),
    ],
)
def test_a_port_in_use_is_this_nodes_if_the_role_works(
    tmp_path: Path, bundle: Path, role: RoleName, state: RoleState, reason: str, is_own: bool
) -> None:
    config = configuration(tmp_path, bundle)
    (address,) = addresses_of(config, role)
    with socket.create_server((HOST, address.port)):
        assert not result_of(config, role).passed
        with supervised(config, status_of(config, role, state=state, reason=reason)):
            assert result_of(config, role).passed is is_own
            assert result_of(config, f"role {role}").passed is (is_own and not reason)
    assert result_of(config, role).passed


def test_another_program_on_a_new_port_is_named_beside_the_running_node(
    tmp_path: Path, bundle: Path
) -> None:
    """The operator changed the port and has not restarted the node."""
    before = configuration(tmp_path, bundle)
    with (
        supervised(before, status_of(before, RoleName.LISTENER)),
        socket.create_server((HOST, 0)) as other,
    ):
        port = other.getsockname()[1]
        changed = configuration(tmp_path, bundle, listener=ListenerConfig(port=port))
        assert not result_of(changed, "listener").passed


def test_missing_folders_are_not_created(tmp_path: Path, bundle: Path) -> None:
    config = configuration(tmp_path / "new" / "data", bundle)
    results = {result.name: result for result in quick_checks(config)}
    assert f"`cxrd serve` creates {config.data_dir}" in results["disk"].detail
    assert f"`cxrd serve` creates {config.data_dir / 'cxrd.sqlite'}" in results["store"].detail
    assert all(results[name].passed for name in ("disk", "store", "web"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "file").write_text("x")
    results = {
        result.name: result for result in quick_checks(configuration(tmp_path / "file", bundle))
    }
    for name in ("disk", "store"):
        assert not results[name].passed
        assert f"{tmp_path / 'file'}: Not a directory" in results[name].detail


def test_a_store_of_an_earlier_version_is_not_upgraded(tmp_path: Path, bundle: Path) -> None:
    config = configuration(tmp_path, bundle)
    with open_database(config.resolved_database_url, create=True) as database:
        migrate(database, "0003")
    result = result_of(config, "store")
    assert result.passed
    assert "`cxrd serve` upgrades it" in result.detail
    with open_database(config.resolved_database_url) as database:
        assert not is_current(database)


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, bundle: Path) -> None:
    config = configuration(tmp_path, bundle)
    Store.open(config.resolved_database_url, migrate=True).close()
    with mock.patch.object(Database, "writing", side_effect=StorageError("read-only")):
        assert not result_of(config, "store").passed


@pytest.mark.parametrize(
    ("web", "problem"),
    [
        ({"host": "0.0.0.0"}, "in clear: set web.certificate"),  # noqa: S104 - to be refused
        ({"host": "no.such.invalid"}, "cannot listen on no.such.invalid"),
        ({"token_file": Path("missing")}, "missing: the secret in it cannot be read"),
    ],
)
def test_a_page_that_serve_would_refuse_is_named(
    tmp_path: Path, bundle: Path, web: dict[str, Any], problem: str
) -> None:
    result = result_of(
        configuration(tmp_path, bundle, web=WebConfig(port=free_port(), **web)), "web"
    )
    assert not result.passed
    assert problem in result.detail


def test_a_short_token_is_named_and_no_token_is_made(tmp_path: Path, bundle: Path) -> None:
    config = configuration(tmp_path, bundle)
    assert result_of(config, "web").passed
    assert not config.token_path.exists()
    config.token_path.write_text("short\n")
    assert "a token has at least" in result_of(config, "web").detail


def test_an_expired_web_certificate_is_named(tmp_path: Path, bundle: Path, pki: Authority) -> None:
    over = pki.issue("web-over", days=-1)
    web = WebConfig(port=free_port(), certificate=over.certificate, key=over.key)
    result = result_of(configuration(tmp_path, bundle, web=web), "certificates")
    assert not result.passed
    assert result.detail.startswith("web.certificate expired on ")


def test_a_ca_of_the_listener_that_cannot_be_read_is_named(
    tmp_path: Path, bundle: Path, pki: Authority
) -> None:
    own = pki.of("cxrd")
    config = configuration(
        tmp_path,
        bundle,
        listener=ListenerConfig(port=free_port(), tls=True),
        tls=TlsConfig(certificate=own.certificate, key=own.key, ca=tmp_path / "gone.pem"),
    )
    result = result_of(config, "listener")
    assert not result.passed
    assert "gone.pem: the CA file cannot be read" in result.detail


def test_the_checks_do_not_load_the_network(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from daemon.config.settings import Config\n"
        "from daemon.preflight.checks import quick_checks, run_checks\n"
        f"names = [one.name for one in quick_checks(Config(data_dir=Path({str(tmp_path)!r})))]\n"
        "assert 'store' in names and 'model' not in names\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert done.returncode == 0


@pytest.mark.slow
def test_the_model_is_checked_last_in_a_child(tmp_path: Path, bundle: Path) -> None:
    *_, last = run_checks(configuration(tmp_path, bundle))
    assert (last.name, last.passed) == ("model", True)
    assert "maps add up to the logits" in last.detail


def test_a_killed_check_of_the_model_is_one_line(tmp_path: Path, bundle: Path) -> None:
    before = children_of(os.getpid())
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_model, configuration(tmp_path, bundle))
        wait_until(lambda: bool(children_of(os.getpid()) - before), "the child runs")
        (child,) = children_of(os.getpid()) - before
        os.kill(child, signal.SIGKILL)
        result = checked.result(20)
    assert not result.passed
    assert "ended without an answer (signal SIGKILL)" in result.detail


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
