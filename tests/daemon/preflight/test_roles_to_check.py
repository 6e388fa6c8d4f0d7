"""`cxrd check` on a host that runs some of the roles: their checks, and those of all hosts."""

from pathlib import Path
from typing import Any

import pytest

from daemon.config.settings import Config
from daemon.preflight.checks import quick_checks, run_checks
from daemon.worker.role import RoleName
from storage.hosts.nodes import NodeRole
from tests.builders.stores.new import new_store
from tests.servers.website import status_of, supervised
from tests.tools.ports import HOST, free_port

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def configuration(folder: Path) -> Config:
    pacs = {"name": "pacs", "ae_title": "P", "host": HOST, "port": free_port()}
    receives = {**pacs, "receives": ["report"], "results_of": "all"}
    values: dict[str, Any] = {
        "listener": {"port": free_port()},
        "web": {"port": free_port()},
        "peers": [{"name": "ct", "ae_title": "CT", "sends": True}, receives],
    }
    return Config(data_dir=folder, **values)


def test_only_what_the_roles_of_this_host_need_is_checked(tmp_path: Path) -> None:
    config = configuration(tmp_path)

    def names(*only: RoleName) -> set[str]:
        return {one.name for one in quick_checks(config, only)}

    everything = names()
    assert {"listener", "web", "peer pacs", "disk", "store"} <= everything
    assert everything - names(RoleName.ANALYST) == {"listener", "web", "peer pacs"}
    assert everything - names(RoleName.COURIER) == {"listener", "web"}
    assert everything - names(RoleName.LISTENER, RoleName.WEB) == {"peer pacs"}
    with supervised(config, status_of(config, RoleName.ANALYST)):
        assert names() - {"role analyst"} == names(RoleName.COURIER) - {"role analyst", "peer pacs"}
    assert "model" not in {one.name for one in run_checks(config, [RoleName.WEB])}


def test_a_role_that_works_nowhere_fails_unless_it_is_to_be_started(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    with new_store(tmp_path / "cxrd.sqlite") as store:
        store.nodes.renew([NodeRole("n:p:listener:s", "n", "listener", "1", "0008", "{}", "up")])
    with_courier = {
        one.detail.split()[1]: one.word
        for one in quick_checks(config, [RoleName.COURIER])
        if one.name == "hosts" and one.detail.startswith("no ")
    }
    assert with_courier == {"analyst": "FAILED", "courier": "warning"}
