"""Files of a film in the spool: each is one request to an S3 service, and so is each read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_model.check.picture_check import PictureCheck
from cxr_model.engine.choice import open_predictor
from cxr_model.predict.bundle import STARTER, Bundle
from daemon.analyse.pipeline import Pipeline
from daemon.analyse.reader.decoder_pool import DecoderPool
from daemon.analyse.reader.film_reader import FilmReader
from daemon.config.settings import Config
from storage.files.folder_spool import FolderSpool
from storage.files.spool import StoredFile
from storage.store import Store
from tests.benchmarks.films import write_films
from tests.builders.bench import SENDS, Bench
from tests.tools.clock import Clock

FILMS = 5


@dataclass(slots=True)
class Requests:
    """Requests and bytes of one film, without the reads of its deliveries."""

    puts: float = 0
    gets: float = 0
    put_bytes: float = 0
    get_bytes: float = 0

    def over(self, films: int) -> "Requests":
        return Requests(
            self.puts / films, self.gets / films, self.put_bytes / films, self.get_bytes / films
        )


class CountingSpool(FolderSpool):
    """A spool that counts what it writes and reads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.counted = Requests()

    def write_together(
        self, files: Sequence[tuple[str, bytes | memoryview]]
    ) -> tuple[StoredFile, ...]:
        self.counted.puts += len(files)
        self.counted.put_bytes += sum(len(data) for _, data in files)
        return super().write_together(files)

    def read(self, relative: str, sha256: str) -> bytes:
        data = super().read(relative, sha256)
        self.counted.gets += 1
        self.counted.get_bytes += len(data)
        return data


def count_requests(folder: Path) -> Requests:
    """Receive, analyse and report films of one study each; return the requests of a film."""
    bundle = Bundle.load(STARTER)
    readers = DecoderPool(FilmReader(PictureCheck.load(), bundle.card.input))
    pipeline = Pipeline(open_predictor(bundle, device="cpu", threads=1), readers, together=1)
    spool = CountingSpool(folder / "spool")
    films = write_films(folder / "films", FILMS)
    url = f"sqlite:///{folder / 'store.sqlite'}"
    with Store.open(url, migrate=True, clock=(clock := Clock())) as store:
        config = Config(peers=(SENDS,))
        bench = Bench(config, clock, spool, store, None, pipeline)  # type: ignore[arg-type]
        bench.restart()
        for path in films.paths:
            bench.receive(path.read_bytes())
        bench.work()
    readers.end_idle()
    return spool.counted.over(FILMS)
