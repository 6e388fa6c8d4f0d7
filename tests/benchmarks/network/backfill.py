"""The time to result of films that come while a backfill fetches studies from an Orthanc.

In turn: films that come to an idle node, and films that come while a part of the backfill is
fetched, analysed, reported and delivered.
"""

import statistics
import time
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.records import JobState, Priority, RetrievalPurpose
from storage.store import Store
from tests.benchmarks.films import Films, write_films
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_most
from tests.benchmarks.setting import Setting
from tests.benchmarks.sides.programs import Serve
from tests.benchmarks.sides.senders import send
from tests.servers.dicom.orthanc import AE_TITLE as ORTHANC
from tests.servers.dicom.orthanc import running_orthanc
from tests.servers.dicom.pacs import RecordingPacs
from tests.tools.ports import HOST, NODE, PACS, SENDER
from tests.tools.waiting import wait_until

SIDE = 1024
QUIET_SECONDS = 1.0
FILMS_OF_A_ROUND = 4
PATIENCE = 1800.0
IDLE, BESIDE = "no backfill", "beside a backfill"


def run(setting: Setting) -> Part:
    """Fetch 500 studies in ten parts, with new films before and during each."""
    part = Part("backfill", "New films beside a backfill")
    studies, rounds = setting.pick(500, 20), setting.pick(10, 2)
    more = {"DicomAlwaysAllowGet": True, "DicomAlwaysAllowFind": True}
    with (
        running_orthanc(_made(setting.folder / "orthanc"), more) as orthanc,
        RecordingPacs(setting.folder / "pacs") as pacs,
    ):
        old = write_films(setting.folder / "old", studies, SIDE, block=1)
        new = write_films(setting.folder / "new", FILMS_OF_A_ROUND, SIDE, block=2)
        _fill(orthanc.dicom_port, old)
        peers = [
            {"name": "sender", "ae_title": SENDER, "sends": True},
            {
                "name": "archive",
                "ae_title": ORTHANC,
                "host": HOST,
                "port": orthanc.dicom_port,
                "sends": True,
                "query": {"retrieve": "get"},
            },
            {
                "name": "pacs",
                "ae_title": PACS,
                "host": HOST,
                "port": pacs.port,
                "receives": ["report", "heatmap"],
            },
        ]
        changes = {"study": {"quiet_seconds": QUIET_SECONDS}, "peers": peers}
        with Serve(setting.folder / "node", pacs.port, changes) as daemon, daemon.store() as store:
            _times(new, daemon.port, pacs)
            uids = [_study_of(path) for path in old.paths]
            size = studies // rounds
            values: dict[str, list[float]] = {IDLE: [], BESIDE: []}
            started, fetching = time.monotonic(), 0.0
            for number in range(rounds):
                values[IDLE] += _times(new, daemon.port, pacs)
                begun = time.monotonic()
                order = store.retrievals.order(
                    "archive",
                    uids[number * size : (number + 1) * size],
                    RetrievalPurpose.BACKFILL,
                    "benchmark",
                )
                _wait_until_begun(store, order, size)
                values[BESIDE] += _times(new, daemon.port, pacs)
                is_beside = store.retrievals.get(order).left > 0
                if not is_beside:
                    part.notes.append(f"part {number + 1} ended before its new films did")
                _wait_until_done(store, order)
                fetching += time.monotonic() - begun
            part.facts.append(Fact("studies of the backfill, an hour", studies / fetching * 3600))
            part.facts.append(Fact("the whole run", time.monotonic() - started, "s"))
    part.measures.append(
        Measure(
            f"From the first byte to the report at its destination, quiet_seconds {QUIET_SECONDS}",
            "s",
            values,
            [Ratio(BESIDE, IDLE, "longer beside a backfill", at_most(1.15))],
        )
    )
    middle = {name: statistics.median(series) for name, series in values.items()}
    part.facts.append(
        Fact(
            "the same ratio without the quiet time",
            (middle[BESIDE] - QUIET_SECONDS) / (middle[IDLE] - QUIET_SECONDS),
        )
    )
    return part


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _fill(port: int, films: Films) -> None:
    """Store the films in the archive, which has each when it answers."""
    archive = Destination("orthanc", ORTHANC, HOST, port, NODE)
    with Sender(archive, also={pair_of(path) for path in films.paths}) as sender:
        for path in films.paths:
            sent = sender.send(path)
            if sent.disposition is not Disposition.DELIVERED:
                raise RuntimeError(f"the archive refuses a film: {sent.detail}")


def _study_of(path: Path) -> str:
    return str(dcmread(BytesIO(path.read_bytes()), stop_before_pixels=True).StudyInstanceUID)


def _times(films: Films, port: int, pacs: RecordingPacs) -> list[float]:
    """Send each film alone; return the seconds to each report."""
    films.renew()
    found = []
    for path in films.paths:
        uid = _study_of(path)
        started = time.perf_counter()
        send([path], port)
        while not pacs.reports_of(uid):
            if time.perf_counter() > started + PATIENCE:
                raise RuntimeError("a report did not come")
            time.sleep(0.005)
        found.append(time.perf_counter() - started)
        _pause()
    return found


def _pause() -> None:
    """Let the heatmaps of the last film leave."""
    time.sleep(1.0)


def _wait_until_begun(store: Store, order: int, size: int) -> None:
    wait_until(lambda: store.retrievals.get(order).left < size, "one is fetched", PATIENCE)


def _wait_until_done(store: Store, order: int) -> None:
    """Wait until a part of the backfill is fetched, analysed, reported and delivered."""

    def is_done() -> bool:
        one = store.retrievals.get(order)
        ended = one.studies.get(JobState.DONE, 0) == one.total
        counts = store.status.job_counts((JobState.QUEUED, JobState.RUNNING))
        return ended and not any(counts.values())

    wait_until(is_done, f"the part is done at priority {Priority.BACKFILL.name}", PATIENCE)
