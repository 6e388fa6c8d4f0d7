"""Processes that outlive their lease or their supervisor."""

import os
import signal

import pytest

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.faults.points import BEFORE
from tests.faults.site import ROLES, FaultSite, is_alive
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]
FORKS = False


@pytest.mark.slow
def test_an_analyst_stopped_past_its_lease_records_nothing(site: FaultSite) -> None:
    image = film("asleep")
    site.daemon.arm("analyst: create spool/tmp", BEFORE, signal.SIGSTOP)
    site.daemon.start()
    sleeping = site.daemon.process_of("analyst")
    site.send(image)
    wait_until(lambda: bool(site.daemon.killed()), "the analyst is stopped")
    with site.daemon.another("analyst"):
        site.wait_until_idle([read_header(image).study_instance_uid])
        os.kill(sleeping, signal.SIGCONT)
        wait_until(lambda: "was taken over by another worker" in site.daemon.log, "it noticed")
    figures = site.check()
    assert figures == {"acknowledged": 1, "lost": 0, "duplicates": 0, "orphans": 0}


@pytest.mark.slow
def test_a_daemon_can_start_at_once_after_a_killed_one(site: FaultSite) -> None:
    first, second = film("before"), film("after")
    site.daemon.start()
    site.send(first)
    left = site.daemon.children()
    assert len(left) == len(ROLES)
    os.kill(site.daemon.supervisor, signal.SIGKILL)
    site.daemon.start_again()
    site.send(second)
    site.wait_until_idle([read_header(image).study_instance_uid for image in (first, second)])
    wait_until(lambda: not any(is_alive(process) for process in left), "the old roles ended")
    assert site.check() == {"acknowledged": 2, "lost": 0, "duplicates": 0, "orphans": 0}


@pytest.mark.slow
def test_a_second_daemon_is_refused_and_does_no_harm(site: FaultSite) -> None:
    site.daemon.start()
    image = film("undisturbed")
    done = site.daemon.run("serve", "--only", "listener,courier")
    assert done.returncode == 1
    refusal = done.stderr.splitlines()[-1]
    assert "cxrd already runs with the data_dir" in refusal
    assert f"127.0.0.1:{site.daemon.port}" in refusal
    site.send(image)
    site.wait_until_idle([read_header(image).study_instance_uid])
    assert len(site.daemon.children()) == len(ROLES)
    assert site.check() == {"acknowledged": 1, "lost": 0, "duplicates": 0, "orphans": 0}
