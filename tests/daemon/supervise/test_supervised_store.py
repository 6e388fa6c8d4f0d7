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
from storage.images.patient_changes import Patients
from storage.patients.records import ChangeKind, PatientChange
from storage.records import JobKind
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import new_instance
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


def test_a_message_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    rings: list[str] = []
    with Store.open(config.resolved_database_url, migrate=True) as store:
        for number in range(2):
            film = new_instance(
                f"1.{number}", str(number), patient_id="A", study_instance_uid=f"1.2.{number}"
            )
            store.record_instance(film, 0)
        change = PatientChange(
            ChangeKind.MERGE,
            "A40",
            "ADT",
            "1",
            "digest",
            ("",),
            store.now(),
            "B",
            prior_patient_id="A",
        )
        with open_database(config.resolved_database_url) as database:
            patients = Patients(database, database.now, 1, pause=cut_off)
            with pytest.raises(CutOffError):
                patients.apply(change)
        presence = Presence(config, store.nodes)
        supervised = SupervisedStore(store, time.monotonic, lambda: rings.append("ring"), presence)

        supervised.requeue_in_time()

        found = [store.results.study(f"1.2.{number}").instances[0] for number in range(2)]
        assert [film.patient_id for film in found] == ["B", "B"]
        assert rings == ["ring"]


class CutOffError(Exception):
    pass


def cut_off(_seconds: float) -> None:
    raise CutOffError
