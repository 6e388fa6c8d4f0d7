"""/hosts and the other places that show all hosts: health, overview, metrics."""

import json
from pathlib import Path

import pytest

from storage.hosts.nodes import NodeRole
from storage.store import Store
from tests.builders.store_rows import STUDY
from tests.servers.website import Site, cells, fill
from tests.storage.tables.next_revision import EXPANDS, NEXT, next_software, write_migration
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

NORTH = NodeRole("north:p:analyst:s", "north", "analyst", "9.9", "0008", "{}", "up", "starter 1")
LISTENER = NodeRole(
    "north:p:listener:s", "north", "listener", "9.9", "0008", "{}", "down", "killed"
)


def test_hosts_are_shown_and_change_no_health_of_this_one(site: Site, store: Store) -> None:
    before = site.ask("/healthz")
    assert "No host has announced a role yet" in site.ask("/hosts").text
    assert "<h2>Hosts</h2>" not in site.ask("/").text
    store.nodes.renew([NORTH, LISTENER])

    wait_until(lambda: "north" in site.ask("/api/nodes").text, "the next look at the hosts")
    nodes = json.loads(site.ask("/api/nodes").text)

    assert [(one["host"], one["role"], one["state"]) for one in nodes["nodes"]] == [
        ("north", "listener", "down"),
        ("north", "analyst", "up"),
    ]
    assert nodes["missing"] == ["listener", "courier"]
    health = site.ask("/healthz")
    assert health.status == before.status
    answer, earlier = json.loads(health.text), json.loads(before.text)
    assert answer.pop("hosts") == [
        {"host": "north", "role": "listener", "state": "down"},
        {"host": "north", "role": "analyst", "state": "up"},
    ]
    earlier.pop("hosts")
    assert answer == earlier
    rows = cells(site.ask("/hosts").text)
    assert [row[:3] for row in rows[1:]] == [
        ["north", "listener", "down"],
        ["north", "analyst", "up"],
    ]
    overview = site.ask("/").text
    assert "No courier works on any host" in overview
    assert "Host north: the listener is down: killed" in overview
    assert site.metric("cxrd_node_up", host="north", role="listener") == 0
    assert site.metric("cxrd_nodes", role="analyst") == 1
    assert site.metric("cxrd_nodes", role="courier") == 0
    assert 0 <= site.metric("cxrd_node_seen_seconds", host="north", role="analyst") < 60


def test_the_pages_go_on_while_the_next_version_upgrades_the_store(
    site: Site, store: Store, tmp_path: Path
) -> None:
    fill(store)
    with next_software(write_migration(tmp_path, EXPANDS)):
        Store.open(f"sqlite:///{site.data / 'cxrd.sqlite'}", migrate=True).close()
    assert store.newer_schema() == NEXT
    paths = ("/", "/studies", f"/studies/{STUDY}", "/jobs", "/hosts", "/statistics", "/audit")
    assert {path: site.ask(path).status for path in paths} == dict.fromkeys(paths, 200)
