"""Pages in this process start no reader of films ahead: each takes a second of a processor."""

import pytest

from daemon.web.films.readers import FilmReaders


@pytest.fixture(autouse=True)
def no_reader_ahead(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the readers to the first film, but in the tests of the readers."""
    if "web.films" not in request.module.__name__:
        monkeypatch.setattr(FilmReaders, "warm_up", lambda _: None)
