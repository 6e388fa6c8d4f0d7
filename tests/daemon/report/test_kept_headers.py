"""A report is made from the headers that the analysis read, as if the films were read again."""

import pytest

from daemon.analyse.kept_headers import LARGEST_KEPT, KeptHeaders
from daemon.report.study_report import built_report, read_images, report_content
from dicom_io.objects.encode import to_bytes
from dicom_io.read.header import read_dataset
from dicom_io.read.image_header import ImageHeader, read_image_header
from storage.errors import IntegrityError
from storage.files.folder_spool import FolderSpool
from storage.files.spool import RECEIVED
from storage.records import Instance, JobKind, StudyResults, StudyStatus
from tests.builders.bench import Bench
from tests.builders.images.films import film


def analysed(bench: Bench) -> StudyResults:
    """Return a study of two films after their analyses, before its report."""
    uid = bench.receive(film("kept"), film("kept", seed=2))
    while bench.analyst.work(JobKind.ANALYSE):
        pass
    bench.clock.advance(bench.config.study.quiet_seconds)
    return bench.study(uid)


def keeping(bench: Bench, *items: Instance, most: int = 8) -> KeptHeaders:
    headers = KeptHeaders(bench.spool, most)
    for item in items:
        headers.keep(item, headers.mark(item), bench.spool.read(item.spool_path, item.sha256))
    return headers


def read_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that are read from now on."""
    paths: list[str] = []
    read = FolderSpool.read

    def recorded(spool: FolderSpool, path: str, sha256: str) -> bytes:
        paths.append(path)
        return read(spool, path, sha256)

    monkeypatch.setattr(FolderSpool, "read", recorded)
    return paths


def test_a_report_after_the_analysis_reads_no_film(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = analysed(bench)
    paths = read_paths(monkeypatch)
    assert bench.analyst.work(JobKind.REPORT)
    assert bench.study(study.study_instance_uid).status is StudyStatus.REPORTED
    assert not [path for path in paths if path.startswith(RECEIVED)]


@pytest.mark.slow
def test_a_report_of_kept_headers_has_the_bytes_of_one_of_films_read_again(bench: Bench) -> None:
    study = analysed(bench)
    algorithm = bench.pipeline.algorithm

    def from_file(item: Instance) -> ImageHeader:
        return read_image_header(bench.spool.read(item.spool_path, item.sha256))

    made = [
        built_report(
            report_content(
                study, read_images(study, algorithm.sha256, header), algorithm, bench.spool.read
            )
        ).data
        for header in (keeping(bench, *study.instances).header, from_file)
    ]
    assert made[0] == made[1]


def test_a_file_that_changed_is_read_again(bench: Bench) -> None:
    item, other = analysed(bench).instances
    headers = keeping(bench, item, other)
    path = bench.spool.path(item.spool_path)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="has changed"):
        headers.header(item)
    bench.spool.path(other.spool_path).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        headers.header(other)


def test_few_and_small_headers_are_kept_and_each_is_given_out_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    item, other = analysed(bench).instances
    paths = read_paths(monkeypatch)
    headers = keeping(bench, item, other, most=1)
    paths.clear()
    headers.header(other)
    assert paths == []
    headers.header(other)
    headers.header(item)
    assert paths == [other.spool_path, item.spool_path]

    large = read_dataset(film("kept", seed=3))
    for group in range(4):
        large.private_block(0x0011, f"VENDOR {group}", create=True).add_new(
            1, "OB", bytes(LARGEST_KEPT // 4)
        )
    uid = bench.receive(to_bytes(large))
    paths.clear()
    third = bench.study(uid).instances[-1]
    keeping(bench, third).header(third)
    assert paths == [third.spool_path] * 2
