"""Jobs that the supervisor queues again wake the workers of this host."""

import datetime
import time
from pathlib import Path

import pytest

from daemon.config.settings import Config
from daemon.hosts.presence import Presence
from daemon.supervise.supervised_store import SupervisedStore
from daemon.worker.role import RoleName
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind
from storage.store import Store
from tests.tools.clock import Clock

pytestmark = pytest.mark.daemon


def test_jobs_queued_again_ring_the_bells(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    FolderSpool(config.data_dir / "spool")
    clock, lease = Clock(), datetime.timedelta(seconds=60)
    rings: list[str] = []
    with Store.open(config.resolved_database_url, clock=clock, migrate=True) as store:
        presence = Presence(config, store.nodes)
        supervised = SupervisedStore(store, time.monotonic, lambda: rings.append("ring"), presence)
        store.jobs.enqueue(JobKind.ANALYSE, "1")
        store.jobs.enqueue(JobKind.ANALYSE, "2")
        supervised.release(RoleName.ANALYST, "unknown")
        assert not rings
        store.jobs.claim((JobKind.ANALYSE,), "dies", lease)
        supervised.release(RoleName.ANALYST, "dies")
        assert len(rings) == 1
        store.jobs.claim((JobKind.ANALYSE,), "hangs", lease)
        clock.advance(61)
        supervised.requeue_in_time()
        assert len(rings) == 2
