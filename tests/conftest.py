"""Fixtures every test folder shares.

Every change waits for the tests, so their time is kept: `make test` takes at most 7 minutes on two
cores, `make test-full` at most 10. `--durations=40` of pytest names the tests that take longest,
and `time` before the command says what they use of the processors. To keep the time:

- A new store is `tests.builders.stores.new.new_store`; only a test of the migrations runs them.
- `RunningDaemon` costs 5 s of a processor for each start: tests of one file share a daemon where
  each has studies of its own, and a command runs in the process of the test (`tests.tools.cli`).
- A test waits for an event by `wait_until`, never for a time. A long limit costs nothing.
- What repeats a kind of case is `slow`, and one case of each kind is not.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.certificates import Authority, authority
from tests.builders.data.folder import write_data
from tests.builders.made_models import build_bundle
from tests.builders.stores.statements import share_statements

REAL_DATA = Path(
    os.environ.get("TEST_DATA_FOLDER", Path(__file__).resolve().parents[2] / "shared" / "data")
)
"""Folder of real images and DICOM files; it lies beside the checkout unless a variable names it."""

KINDS = ["made", *([pytest.param("real", marks=pytest.mark.slow)] if REAL_DATA.is_dir() else [])]


@pytest.fixture(scope="session", autouse=True)
def cache_of_graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder that the tests and the daemons they start keep built graphs in."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session", autouse=True)
def statements_are_shared() -> None:
    """Compile each statement of the stores once in this process."""
    share_statements()


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of made data, laid out like the real data."""
    return write_data(tmp_path_factory.mktemp("data") / "made")


# Not of the session: pytest would then tear a module's tests apart, and its fixtures with them.
@pytest.fixture(scope="module", params=KINDS)
def data_folder(request: pytest.FixtureRequest) -> Path:
    """Folder of data: made data always and real data, where there is a folder of it."""
    folder: Path = REAL_DATA if request.param == "real" else request.getfixturevalue("made_data")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data, for tests whose numbers are those of that data."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no folder of real data at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle whose random network finds about half of the labels in any image."""
    folder = tmp_path_factory.mktemp("bundle") / "random"
    build_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA with certificates for `cxrd`, `pacs` and `modality`, all for this machine."""
    return authority(tmp_path_factory.mktemp("pki") / "site")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another CA with certificates of the same names, which no configuration trusts."""
    return authority(tmp_path_factory.mktemp("pki") / "strangers")


@pytest.fixture(scope="session")
def postgresql_socket() -> Iterator[str]:
    """Folder of the socket of a PostgreSQL server; each test makes a database of its own."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (pip install 'cxrd[postgresql]')")
    from tests.servers.postgresql_server import postgresql_server

    with postgresql_server() as socket_folder:
        yield socket_folder
