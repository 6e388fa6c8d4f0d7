"""The roles of all hosts compared with this one: silent, missing, different."""

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.config.settings import Config
from daemon.hosts.agreement import as_text, section_digests
from daemon.hosts.presence import place_of
from daemon.hosts.survey import Survey, survey
from daemon.preflight.all_hosts import results
from daemon.web.health.checks import HealthReport, Level
from daemon.web.overview.faults import Fault, find_faults
from storage.hosts.nodes import NodeRole
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock

OURS = Config(data_dir=Path("/srv/cxrd"))
DIGESTS = section_digests(OURS)


def row(host: str, role: str, state: str = "up", **changes: str) -> NodeRole:
    place = place_of(OURS) if host == "here" else f"{host}:p:"
    made = NodeRole(f"{place}{role}:s", host, role, "1.0", "0008", as_text(DIGESTS), state)
    return replace(made, **changes)


def seen(folder: Path, *rows: NodeRole, silent: tuple[NodeRole, ...] = ()) -> Survey:
    clock = Clock()
    with new_store(folder / "store.db", clock=clock) as store:
        store.nodes.renew(silent)
        clock.advance(61 if silent else 0)
        store.nodes.renew(rows)
        return survey(OURS, DIGESTS, store)


def faults(found: Survey) -> list[Fault]:
    report = HealthReport((), (), {}, 10**12, found)
    made = find_faults(OURS, report, [], [], 0, None)
    return list(made)


ALL = tuple(row("here", role) for role in ("listener", "analyst", "courier", "web"))


def test_a_node_of_one_host_has_no_fault(tmp_path: Path) -> None:
    found = seen(tmp_path, *ALL)
    assert [host.is_here for host in found.hosts] == [True]
    assert [role.role for role in found.roles] == ["listener", "analyst", "courier", "web"]
    assert (found.others, found.missing, faults(found), list(results(found))) == ((), (), [], [])


def test_a_host_that_is_killed_is_silent_and_no_part_of_this_host(tmp_path: Path) -> None:
    found = seen(tmp_path, *ALL, silent=(row("north", "analyst"), row("north", "courier")))
    (fault,) = faults(found)
    assert fault.level is Level.DEGRADED
    assert fault.text.startswith("Host north is silent: analyst, courier, last seen at 2026-03-01")
    (line,) = results(found)
    assert (line.name, line.word) == ("host north", "warning")
    assert "analyst silent, courier silent" in line.detail


def test_a_role_that_works_nowhere_is_a_fault(tmp_path: Path) -> None:
    found = seen(tmp_path, row("here", "listener"), row("n", "analyst", "down", detail="SIGSEGV"))
    assert found.missing == ("analyst", "courier")
    assert [(fault.level, fault.text) for fault in faults(found)] == [
        (Level.FAILING, "No analyst works on any host: films wait for their analysis."),
        (Level.FAILING, "No courier works on any host: results wait for their delivery."),
        (Level.DEGRADED, "Host n: the analyst is down: SIGSEGV"),
    ]
    assert [line.word for line in results(found)] == ["warning", "FAILED", "FAILED"]


def test_without_any_role_nothing_is_said_about_hosts(tmp_path: Path) -> None:
    found = seen(tmp_path)
    assert (found.hosts, found.missing, faults(found)) == ((), (), [])


def test_sections_that_differ_are_named_and_versions_only_in_check(tmp_path: Path) -> None:
    other = section_digests(Config.model_validate({"retention": {"days": 9}}))
    found = seen(
        tmp_path,
        *ALL,
        row("north", "analyst", config_digest=as_text(other), version="1.1"),
        row("south", "analyst", config_digest="of another version"),
    )
    north, south = found.others
    assert (north.differs, south.differs) == (("retention",), ("model",))
    texts = [fault.text for fault in faults(found)]
    assert texts[0] == "Host north has other settings than this host in: retention."
    assert len(texts) == 2
    lines = {line.name: line for line in results(found)}
    assert "other settings than here in retention" in lines["host north"].detail
    assert "different versions (1.0, 1.1)" in lines["hosts"].detail
    assert {line.word for line in lines.values()} == {"warning"}


@pytest.mark.parametrize(("state", "works"), [("up", 1), ("starting", 1), ("stopping", 0)])
def test_a_role_that_stops_works_no_longer(tmp_path: Path, state: str, works: int) -> None:
    found = seen(tmp_path, row("here", "web"), row("n", "analyst", state))
    assert ("analyst" not in found.missing) == bool(works)


def test_a_state_and_a_role_of_a_later_version_are_shown(tmp_path: Path) -> None:
    found = seen(tmp_path, *ALL, row("n", "archivist", "thinking"))
    assert [(role.role, role.state) for role in found.others[0].roles] == [
        ("archivist", "thinking")
    ]
