"""Reception and backup with a spool in a bucket: nothing is acknowledged that is not there."""

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.receive.reception import Reception
from dicom_io.receive.store_request import StoreStatus
from storage.errors import SpoolUnavailableError
from storage.files.s3.place import S3Place
from storage.files.s3.s3_spool import S3Spool
from storage.files.spool import RECEIVED, Spool
from storage.store import Store
from storage.upkeep.backup import back_up, check_backup
from tests.builders.images.films import film, received
from tests.builders.stores.bucket import Bucket, new_bucket
from tests.builders.stores.new import new_store
from tests.servers.plain.scripted_s3 import Refusal, scripted_s3
from tests.servers.s3_server import ACCESS_KEY, SECRET_KEY, s3_server

pytestmark = pytest.mark.network


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with s3_server() as server, new_bucket(server) as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "store.sqlite") as opened:
        yield opened


def received_files(spool: Spool) -> list[str]:
    return [path for batch in spool.batches(RECEIVED) for path in batch]


def test_a_film_is_acknowledged_only_with_its_file_and_is_in_the_backup(
    bucket: Bucket, store: Store, tmp_path: Path
) -> None:
    spool = bucket.spool(retry_seconds=0)
    reception = Reception(spool, store, 30)
    image = film("kept")
    bucket.proxy.cut_after(len(image) // 2)
    assert reception.receive(received(image)) is StoreStatus.OUT_OF_RESOURCES
    assert store.jobs.list() == ()
    bucket.proxy.resume()

    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    instance = store.results.instance(1)
    assert received_files(spool) == [instance.spool_path]
    assert spool.read(instance.spool_path, instance.sha256) == image

    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert received_files(spool) == [instance.spool_path]

    now = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
    url = f"sqlite:///{tmp_path}/store.sqlite"
    folder, made = _back_up(url, store, spool, tmp_path / "backups", now)
    assert (made, check_backup(folder)) == ((), (2, ()))
    assert (folder / "spool" / instance.spool_path).read_bytes() == image

    bucket.proxy.cut()
    with pytest.raises(SpoolUnavailableError):
        _back_up(url, store, spool, tmp_path / "none", now)
    assert list((tmp_path / "none").glob("cxrd-*")) == []
    bucket.proxy.resume()
    spool.delete(instance.spool_path)
    later = now + datetime.timedelta(hours=1)
    assert _back_up(url, store, spool, tmp_path / "missing", later)[1] == ("instance 1",)
    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert spool.read(instance.spool_path, instance.sha256) == image


def _back_up(
    url: str, store: Store, spool: Spool, into: Path, now: datetime.datetime
) -> tuple[Path, tuple[str, ...]]:
    folder, summary = back_up(url, spool, into, store.leases, now)
    return folder, summary.damaged


def test_a_full_bucket_is_answered_with_out_of_resources(store: Store) -> None:
    with scripted_s3() as service:
        place = S3Place(
            "films",
            endpoint=service.endpoint,
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            path_style=True,
        )
        with contextlib.closing(S3Spool(replace(place, retry_seconds=0))) as spool:
            reception = Reception(spool, store, 30)
            for refusal in (Refusal(507, "XMinioStorageFull"), Refusal(503, "SlowDown")):
                service.always = refusal
                answer = reception.receive(received(film("full")))
                assert answer is StoreStatus.OUT_OF_RESOURCES
            assert store.jobs.list() == ()
            service.always = None
            assert reception.receive(received(film("full"))) is StoreStatus.SUCCESS
