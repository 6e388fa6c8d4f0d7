"""Health and readiness: store, spool, roles, ports, certificates and destinations."""

import json
import signal
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.config.settings import Config
from daemon.web.health.checks import Check, Health, HealthReport, Level
from daemon.worker.board import Board, RoleState, board_folder, roles_here
from daemon.worker.role import RoleName, exit_reason
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind
from storage.store import Store
from storage.tables.clock import utc_now
from tests.builders.certificates import Authority
from tests.builders.store_rows import claim
from tests.servers.website import PEERS, Site, fill, site_alone, status_of, supervised
from tests.tools.clock import Clock
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]

LATER = timedelta(days=390)
"""Less than WARN_DAYS before the end of a certificate of the tests' CA."""


def configuration(folder: Path, **sections: Any) -> Config:
    values: dict[str, Any] = {
        "web": {"port": free_port()},
        "listener": {"port": free_port()},
        "peers": PEERS,
        **sections,
    }
    return Config(data_dir=folder, **values)


def with_tls(pki: Authority) -> dict[str, Any]:
    own = pki.of("cxrd")
    return {
        "tls": {"certificate": own.certificate, "key": own.key, "ca": pki.ca},
        "listener": {"port": free_port(), "tls": True},
    }


def health_of(config: Config, store: Store, now: datetime | None = None) -> HealthReport:
    spool = FolderSpool(config.data_dir / "spool")
    return Health(config, store, spool, lambda: now or utc_now()).report()


def check(report: HealthReport, name: str) -> Check:
    (found,) = [one for one in report.checks if one.name == name]
    return found


def test_a_node_that_works_is_healthy_and_ready(site: Site) -> None:
    port = f"port {HOST}:{site.port}"
    parts = ["store", "spool", "role web", port, "destination pacs", "destination archive"]
    healthy = site.ask("/healthz")
    assert healthy.status == 200
    assert json.loads(healthy.text) == {
        "status": "ok",
        "checks": dict.fromkeys(parts, "ok"),
        "failing": [],
        "degraded": [],
        "hosts": [],
    }
    ready = site.ask("/readyz")
    assert ready.status == 200
    assert json.loads(ready.text) == {"status": "ready", "checks": {"role web": "ok", port: "ok"}}
    assert not list((site.data / "spool").rglob("health*"))


def test_without_a_token_only_the_status_is_given(site: Site) -> None:
    assert site.ask_with({}, "/healthz").text == '{"status":"ok"}'
    assert site.ask_with({}, "/readyz").text == '{"status":"ready"}'


def test_health_is_checked_once_a_second(tmp_path: Path, store: Store) -> None:
    now = 0.0
    config = configuration(tmp_path)
    health = Health(config, store, FolderSpool(config.data_dir / "spool"), utc_now, lambda: now)
    assert check(health.report(), "spool").level is Level.OK
    (config.data_dir / "spool").rename(tmp_path / "away")
    (config.data_dir / "spool").write_text("in the way")
    now = 0.9
    assert check(health.report(), "spool").level is Level.OK
    now = 1.0
    assert check(health.report(), "spool").level is Level.FAILING
    assert check(health.report(), "store").level is Level.OK


@pytest.mark.parametrize(
    ("state", "reason", "level"),
    [
        (RoleState.UP, "", Level.OK),
        (RoleState.STARTING, "", Level.STARTING),
        (RoleState.STOPPING, "", Level.STOPPING),
        (RoleState.STARTING, "signal SIGKILL", Level.FAILING),
        (RoleState.DOWN, "signal SIGKILL", Level.FAILING),
    ],
)
def test_a_role_that_does_not_work_fails_health_and_readiness(
    tmp_path: Path, store: Store, state: RoleState, reason: str, level: Level
) -> None:
    config = configuration(tmp_path)
    analyst = status_of(config, RoleName.ANALYST, state=state, reason=reason)
    with supervised(config, analyst):
        report = health_of(config, store)
    assert check(report, "role analyst").level is level
    assert check(report, "role analyst").detail == reason
    assert report.level is (Level.FAILING if level is Level.FAILING else Level.OK)
    assert report.is_ready is (level is Level.OK)


def test_a_port_on_which_its_role_does_not_listen_is_failing(tmp_path: Path, store: Store) -> None:
    config = configuration(tmp_path)
    name = f"port {HOST}:{config.listener.port}"
    with supervised(config, status_of(config, RoleName.LISTENER)):
        closed = health_of(config, store)
        with socket.create_server((HOST, config.listener.port)):
            assert check(health_of(config, store), name).level is Level.OK
    assert check(closed, name).level is Level.FAILING
    assert (closed.level, closed.is_ready) == (Level.FAILING, False)


def test_another_program_on_the_port_of_a_dead_listener_does_not_count(
    tmp_path: Path, store: Store
) -> None:
    config = configuration(tmp_path)
    dead = status_of(config, RoleName.LISTENER, state=RoleState.DOWN, reason="signal SIGKILL")
    with supervised(config, dead), socket.create_server((HOST, config.listener.port)):
        report = health_of(config, store)
    assert check(report, f"port {HOST}:{config.listener.port}").level is Level.FAILING


def test_an_expired_certificate_of_the_listener_is_named(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    """Its role may be up still: it read the certificate before."""
    config = configuration(tmp_path, **with_tls(pki))
    with supervised(config, status_of(config, RoleName.LISTENER)):
        soon = health_of(config, store, utc_now() + LATER)
        over = health_of(config, store, utc_now() + 2 * LATER)
    assert check(soon, "certificate tls").level is Level.DEGRADED
    assert "ends in 6 day(s): renew it" in check(soon, "certificate tls").detail
    assert check(over, "certificate tls").level is Level.FAILING
    assert "expired on" in check(over, "certificate tls").detail


def test_a_certificate_for_calls_only_degrades(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    sections = with_tls(pki) | {"listener": {"port": free_port()}}
    sections["peers"] = [PEERS[0] | {"tls": True}]
    config = configuration(tmp_path, **sections)
    with supervised(config, status_of(config, RoleName.COURIER)):
        report = health_of(config, store, utc_now() + 2 * LATER)
    assert check(report, "certificate tls").level is Level.DEGRADED
    assert report.level is Level.DEGRADED


def test_a_certificate_that_was_replaced_under_a_running_listener_is_named(
    tmp_path: Path, store: Store, pki: Authority
) -> None:
    for kind in ("pem", "key"):
        (tmp_path / f"own.{kind}").write_bytes((pki.folder / f"cxrd.{kind}").read_bytes())
    sections = with_tls(pki)
    sections["tls"] |= {"certificate": tmp_path / "own.pem", "key": tmp_path / "own.key"}
    config = configuration(tmp_path, **sections)
    clock = Clock()
    health = Health(config, store, FolderSpool(config.data_dir / "spool"), utc_now, clock.seconds)

    def level_of(started: datetime) -> Level:
        with supervised(config, status_of(config, RoleName.LISTENER, since=started)):
            clock.advance(60)
            return check(health.report(), "certificate tls").level

    before = datetime.now(UTC) - timedelta(seconds=5)
    assert level_of(before) is Level.OK
    for kind in ("pem", "key"):
        (tmp_path / f"own.{kind}").write_bytes((pki.folder / f"pacs.{kind}").read_bytes())
    assert level_of(before) is Level.DEGRADED
    assert level_of(utc_now() + timedelta(seconds=5)) is Level.OK
    (tmp_path / "own.pem").write_text("no certificate")
    assert level_of(before) is Level.DEGRADED


def test_a_failing_destination_degrades(site: Site, store: Store) -> None:
    fill(store)
    answer = site.ask("/healthz")
    assert answer.status == 200
    body = json.loads(answer.text)
    assert body["status"] == "degraded"
    assert body["degraded"] == ["destination pacs", "destination archive"]
    assert body["checks"]["destination pacs"] == "status 0xA900"
    assert site.ask("/readyz").status == 200
    assert site.metric("cxrd_destination_ok", destination="pacs") == 0


def test_a_destination_that_works_again_is_healthy(site: Site, store: Store) -> None:
    fill(store)
    for job in store.jobs.list(limit=None):
        if job.lane == "pacs":
            store.jobs.discard(job.id, "me")
    assert site.metric("cxrd_destination_ok", destination="pacs") == 1


def test_a_site_without_a_supervisor_is_failing(tmp_path: Path, store: Store) -> None:
    config = configuration(tmp_path)
    with site_alone(config) as site:
        answer = site.ask("/healthz")
        assert answer.status == 503
        assert "no supervisor of this host" in json.loads(answer.text)["checks"]["role"]
        assert site.ask("/readyz").status == 503


def test_metrics_and_page_show_every_part(tmp_path: Path, store: Store, pki: Authority) -> None:
    config = configuration(tmp_path, **with_tls(pki))
    reason = exit_reason(-signal.SIGSEGV)
    down = status_of(config, RoleName.LISTENER, state=RoleState.DOWN, reason=reason, restarts=4)
    with supervised(config, status_of(config, RoleName.WEB), down), site_alone(config) as site:
        place = f"{HOST}:{config.listener.port}"
        assert site.metric("cxrd_role_up", role="web") == 1
        assert site.metric("cxrd_role_up", role="listener") == 0
        assert site.metric("cxrd_role_restarts_total", role="listener") == 4
        assert site.metric("cxrd_port_listening", address=place) == 0
        assert site.metric("cxrd_health", status="failing") == 1
        assert site.metric("cxrd_health", status="ok") == 0
        assert site.metric("cxrd_ready") == 0
        assert site.metric("cxrd_store_up") == 1
        page = site.ask().text
    assert "Role listener: signal SIGSEGV" in page
    assert f"Port {place}: the listener does not listen" in page
    assert "certificate tls" in page
    assert "Every role of this host works" not in page


def test_the_states_of_a_killed_supervisor_are_old(tmp_path: Path, store: Store) -> None:
    """Its lock is gone, its files are there."""
    config = configuration(tmp_path)
    with supervised(config, status_of(config, RoleName.ANALYST)):
        (states,) = board_folder(config).glob("*.json")
        left = states.read_bytes()
        (up,) = roles_here(config)
    assert up.state is RoleState.UP
    assert roles_here(config) == ()
    states.write_bytes(left)
    (status,) = roles_here(config)
    assert status.state is RoleState.DOWN
    assert "was killed: start `cxrd serve`" in status.reason
    with supervised(config, status_of(config, RoleName.WEB)):
        assert [one.state for one in roles_here(config)] == [RoleState.DOWN, RoleState.UP]
    with supervised(config, status_of(config, RoleName.ANALYST)):
        assert [one.state for one in roles_here(config)] == [RoleState.UP]
    assert list(board_folder(config).iterdir()) == []


def test_a_suspended_supervisor_is_named(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    now = 0.0
    with Board(board_folder(config), lambda: now) as board:
        board.publish([status_of(config, RoleName.ANALYST)])
        (states,) = board_folder(config).glob("*.json")
        content = json.loads(states.read_text()) | {"beat": -100.0}
        states.write_text(json.dumps(content))
        (status,) = roles_here(config)
    assert status.state is RoleState.DOWN
    assert "has been silent for" in status.reason


def test_a_full_disk_does_not_stop_the_supervisor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(tmp_path)
    with Board(board_folder(config)) as board:
        board_folder(config).rename(tmp_path / "away")
        for restarts in range(3):
            board.publish([status_of(config, RoleName.ANALYST, restarts=restarts)])
    assert caplog.text.count("the states of the roles cannot be written") == 1


def test_parked_work_of_a_destination_degrades(site: Site, store: Store) -> None:
    store.jobs.enqueue(JobKind.COMMIT, "1.2", lane="pacs")
    store.jobs.fail(claim(store, JobKind.COMMIT), "not committed", None)
    assert json.loads(site.ask("/healthz").text)["degraded"] == ["destination pacs"]
