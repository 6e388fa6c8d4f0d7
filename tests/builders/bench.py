"""An analyst on a store and a spool, on a clock that the test moves."""

import datetime
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon.analyse.pipeline import Pipeline
from daemon.analyst import Analyst
from daemon.config.peers import PeerConfig
from daemon.config.receivers import PictureSyntax, Product
from daemon.config.routing import source_of_caller
from daemon.config.sections.roles import AnalystConfig
from daemon.config.settings import Config
from daemon.receive.reception import Reception
from dicom_io.read.header import read_dataset, read_header
from storage.files.folder_spool import FolderSpool
from storage.records import (
    ObjectRecord,
    StudyResults,
)
from storage.store import Store
from tests.builders.images.films import received
from tests.builders.stores.new import new_store
from tests.tools.clock import Clock
from tests.tools.ports import SENDER

SENDS = PeerConfig(name="sender", ae_title=SENDER, sends=True)


@dataclass
class Bench:
    """An analyst on a store and a spool, without processes or network."""

    config: Config
    clock: Clock
    spool: FolderSpool
    store: Store
    analyst: Analyst
    pipeline: Pipeline

    def reception(self) -> Reception:
        source_of = functools.partial(source_of_caller, self.config.peers)
        return Reception(self.spool, self.store, self.config.study.quiet_seconds, source_of)

    def receive(self, *images: bytes) -> str:
        reception = self.reception()
        for image in images:
            reception.receive(received(image))
        return read_header(images[0]).study_instance_uid

    def work(self) -> None:
        """Work until no job is left, with the quiet time and all retry times over."""
        for _ in range(10):
            self.clock.advance(self.config.study.quiet_seconds + 600)
            while self.analyst.work_once():
                pass

    def restart(self) -> None:
        """Replace the analyst by one that has analysed no film yet."""
        self.analyst = Analyst(self.config, "me", self.spool, self.store, self.pipeline)

    def study(self, uid: str) -> StudyResults:
        return self.store.results.study(uid)


@contextmanager
def open_bench(folder: Path, pipeline: Pipeline) -> Iterator[Bench]:
    config = Config(
        analyst=AnalystConfig(max_attempts=2),
        peers=(
            SENDS,
            PeerConfig(
                name="pacs",
                ae_title="PACS",
                host="127.0.0.1",
                port=104,
                receives=(Product.REPORT,),
            ),
        ),
    )
    clock = Clock(datetime.datetime.now(datetime.UTC))
    spool = FolderSpool(folder / "spool")
    with new_store(folder / "store.sqlite", clock=clock) as store:
        analyst = Analyst(config, "me", spool, store, pipeline)
        yield Bench(config, clock, spool, store, analyst, pipeline)


EVERYTHING = PeerConfig(
    name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=105, receives=tuple(Product)
)
IN_JPEG = EVERYTHING.model_copy(
    update={"name": "small", "picture_syntax": PictureSyntax.JPEG_BASELINE}
)


def everything_wanted(bench: Bench, pipeline: Pipeline) -> None:
    bench.config = bench.config.model_copy(
        update={"peers": (*bench.config.peers, EVERYTHING, IN_JPEG)}
    )
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)


def films_of(bench: Bench, report: ObjectRecord) -> list[str]:
    """Return the films of the report's sections in their order."""
    content = read_dataset(bench.spool.read(report.spool_path, report.sha256)).ContentSequence
    return [
        str(item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in content
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Findings"
    ]
