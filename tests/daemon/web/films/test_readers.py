"""The readers of the web role: few, ended when idle, and busy before the queue grows."""

import os
import threading
from collections.abc import Iterator

import pytest

from daemon.analyse.reader.look import Look, LookKind, Picture
from daemon.config.sections.roles import AnalystConfig
from daemon.errors import DecoderError
from daemon.web.films.cache import ByteCache
from daemon.web.films.readers import MOST_READERS, FilmReaders
from daemon.web.problems import BusyError
from tests.builders.images.films import chest_film, file_bytes
from tests.servers.watching import children_of
from tests.tools.waiting import wait_until

FILM = file_bytes(chest_film())
SMALL = Look(LookKind.PICTURE, 50)


@pytest.fixture
def others() -> set[int]:
    return children_of(os.getpid())


@pytest.fixture
def readers(others: set[int]) -> Iterator[FilmReaders]:
    opened = FilmReaders(AnalystConfig(), idle_seconds=0.3, wait_seconds=0.2, most_waiting=1)
    yield opened
    opened.close()


def test_readers_start_with_the_first_film_and_end_when_idle(
    readers: FilmReaders, others: set[int]
) -> None:
    assert children_of(os.getpid()) == others
    assert isinstance(readers.look(FILM, SMALL), Picture)
    assert len(children_of(os.getpid()) - others) == 1
    wait_until(lambda: children_of(os.getpid()) <= others, "the idle reader has ended", 10)


@pytest.mark.slow
def test_a_reader_is_started_ahead_once(readers: FilmReaders, others: set[int]) -> None:
    for _ in range(3):
        readers.warm_up()
    wait_until(lambda: len(children_of(os.getpid()) - others) == 1, "a reader runs", 20)
    wait_until(lambda: children_of(os.getpid()) <= others, "the idle reader has ended", 20)


class Slow:
    """A pool whose films take until `done` is set; counts the films at once."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def look(self, _data: bytes, _look: Look) -> str:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.done.wait(10)
        with self._lock:
            self.now -= 1
        return "picture"

    def end_idle(self) -> int:
        return 0


def test_more_films_than_may_wait_are_refused(readers: FilmReaders) -> None:
    slow = Slow()
    readers._made = slow  # type: ignore[assignment]
    working = [
        threading.Thread(target=readers.look, args=(FILM, SMALL)) for _ in range(MOST_READERS)
    ]
    for thread in working:
        thread.start()
    wait_until(lambda: slow.now == MOST_READERS, "all readers work", 5)
    refused: list[str] = []

    def ask() -> None:
        with pytest.raises(BusyError) as caught:
            readers.look(FILM, SMALL)
        refused.append(str(caught.value))

    waiting = threading.Thread(target=ask)
    waiting.start()
    wait_until(lambda: readers._admitted._value == 0, "one request waits", 5)
    ask()
    assert "many pictures" in refused[0]
    waiting.join(5)
    assert "take long" in refused[1]
    slow.done.set()
    for thread in working:
        thread.join(5)
    assert slow.most == MOST_READERS
    assert readers.look(FILM, SMALL) == "picture"  # type: ignore[comparison-overlap]


def test_a_reader_that_cannot_start_is_no_fault_of_the_film(readers: FilmReaders) -> None:
    class Broken(Slow):
        def look(self, _data: bytes, _look: Look) -> str:
            raise DecoderError("no reader of images can be started")

    readers._made = Broken()  # type: ignore[assignment]
    with pytest.raises(BusyError, match="no reader of images can be started"):
        readers.look(FILM, SMALL)


def test_pictures_are_kept_up_to_a_number_of_bytes() -> None:
    cache: ByteCache[bytes] = ByteCache(len, most_bytes=80)
    for number in range(12):
        cache.put(number, bytes(10))
        cache.get(0)
    assert cache.bytes == 80
    assert cache.get(0) is not None
    assert cache.get(1) is None
    assert cache.get(11) is not None
    cache.put(11, bytes(4))
    assert cache.bytes == 74
    cache.put("large", bytes(11))
    assert cache.get("large") is None
