"""Listeners behind one address are upgraded one after the other, and no sender notices."""

import contextlib
from pathlib import Path

import pytest

from dicom_io.receive.node import Node
from tests.builders.certificates import Authority
from tests.hosts.balancer import balancer, working
from tests.hosts.load import Load
from tests.hosts.next_version import MIGRATION, VERSION
from tests.hosts.scenario import start_together, unfinished
from tests.hosts.site import LISTENER_PORT, WEB_PORT, HostDaemon, HostsSite
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.servers.hosts.namespaces import network
from tests.storage.tables.next_revision import EXPANDS, NEXT, write_migration
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

LEAVING = {"leave_seconds": 3, "drain_seconds": 15}


def listener_of(site: HostsSite, name: str, pki: Authority) -> HostDaemon:
    own = pki.of("cxrd")
    host = site.hosts[name]
    return site.daemon(
        name,
        "listener,web",
        listener={"host": host.address, "port": LISTENER_PORT, **LEAVING},
        web={
            "host": host.address,
            "port": WEB_PORT,
            "allowed_hosts": [name],
            "certificate": str(own.certificate),
            "key": str(own.key),
        },
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_rolling_upgrade_behind_a_balancer_fails_no_association(
    site: HostsSite, pki: Authority, tmp_path: Path
) -> None:
    listeners = [listener_of(site, name, pki) for name in ("front", "back")]
    worker = site.daemon("north", "analyst,courier")
    listeners[0].start()
    start_together([listeners[1], worker])
    migration = write_migration(tmp_path, EXPANDS)
    clinic, address = site.hosts["clinic"], site.hosts["south"]
    with (
        balancer(tmp_path, address, [one.host for one in listeners], pki.ca),
        Load(clinic, address, "rolling") as load,
    ):
        for one in listeners:
            before = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) > before + 4, "the load goes on")  # noqa: B023
            status, _ = one.stop()
            assert status == 0
            assert len(working(tmp_path)) == 1
            one.module, one.variables = "tests.hosts.next_version", {MIGRATION: str(migration)}
            one.start()
            wait_until(lambda: len(working(tmp_path)) == 2, "the balancer knows it again")
        before = len(load.acknowledged)
        wait_until(lambda: len(load.acknowledged) > before + 4, "the load goes on")
    assert load.failures == []
    wait_until(lambda: unfinished(site) == 0, "nothing is left to do")
    assert set(load.acknowledged) == set(site.archive.studies)
    assert {len(of_study) for of_study in site.archive.studies.values()} == {1}
    assert site.query("SELECT version_num FROM alembic_version") == [NEXT]
    assert set(site.query("SELECT version FROM nodes WHERE role = 'listener'")) == {VERSION}
    print(f"\n  {load.associations} associations, {len(load.acknowledged)} films, 0 failed")


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_listeners_that_share_a_port_hand_over_their_connections() -> None:
    inbox = Inbox()
    with network("front", "clinic") as (front, clinic), contextlib.ExitStack() as running:
        front.set_kernel("net/ipv4/tcp_migrate_req", "1")

        def started() -> Node:
            with front.inside():
                settings = {"host": front.address, "port": LISTENER_PORT, "reuse_port": True}
                return running.enter_context(running_node(inbox, **settings))

        node = started()
        with Load(clinic, front, "shared") as load:
            for _ in range(4):
                before, successor = load.associations, started()
                node.drain(lambda: True)
                node.stop()
                node = successor
                wait_until(lambda: load.associations > before + 10, "the load goes on")  # noqa: B023
    assert load.failures == []
    assert len(inbox.instances) == len(load.acknowledged) >= 40
