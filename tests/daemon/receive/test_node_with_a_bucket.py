"""The whole node with its spool in a bucket, also while the service is stopped and cut off."""

import threading
from pathlib import Path

import pytest

from daemon.config.loading import load_config
from dicom_io.read.header import read_header
from storage.files.places import open_spool
from storage.files.spool import OBJECTS, RECEIVED
from storage.records import JobState
from tests.builders.images.films import film
from tests.builders.stores.bucket import new_bucket
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.servers.s3_server import ACCESS_KEY, REGION, SECRET_KEY, s3_server
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


def test_each_film_is_reported_once_though_the_service_is_stopped_and_cut_off(
    bundle: Path, pacs: RecordingPacs, tmp_path: Path
) -> None:
    with s3_server() as server, new_bucket(server) as bucket:
        place = bucket.place
        spool = {
            "url": f"s3://{place.bucket}/{place.prefix}",
            "endpoint": place.endpoint,
            "region": REGION,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "allow_http": True,
            "timeout_seconds": 2,
            "retry_seconds": 2,
        }
        films = [film(f"in-a-bucket-{number}", heart_failure=number == 0) for number in range(6)]
        studies = [read_header(image).study_instance_uid for image in films]
        with RunningDaemon(tmp_path / "node", bundle, pacs.port, {"spool": spool}) as daemon:
            daemon.send(*films[:2])
            with server.paused():
                sending = threading.Thread(target=_send_until_taken, args=(daemon, films[2:4]))
                sending.start()
                # Long enough for a request to end at its time limit.
                sending.join(5)
            sending.join()
            bucket.proxy.cut()
            sending = threading.Thread(target=_send_until_taken, args=(daemon, films[4:]))
            sending.start()
            sending.join(3)
            bucket.proxy.resume()
            sending.join()
            wait_until(
                lambda: all(len(pacs.reports_of(uid)) == 1 for uid in studies), "every report", 60
            )
            status = daemon.run("verify")
            assert status.returncode == 0, status.stdout + status.stderr
            with daemon.store() as store:
                assert store.jobs.list(state=JobState.PARKED) == ()
                reports = [store.results.study(uid).reports for uid in studies]
            assert [len(of_study) for of_study in reports] == [1] * len(films)
        assert not (tmp_path / "node" / "data" / "spool").exists()
        kept = open_spool(load_config(daemon.config).spool_place)
        received = [path for batch in kept.batches(RECEIVED) for path in batch]
        # A film whose answer was lost may have a second copy without a row, which the sweep moves.
        assert len(received) >= len(films)
        assert any(kept.batches(OBJECTS))


def _send_until_taken(daemon: RunningDaemon, films: list[bytes]) -> None:
    """Send each film until it is acknowledged, as a modality does."""
    for image in films:
        for _ in range(30):
            try:
                daemon.send(image)
            except AssertionError:
                continue
            break
