"""Receiving: dcmtk's storescu sends the same films to cxrd's listener and to dcmtk's storescp.

cxrd's side includes what storescp does not do: fsync of every file, and the transaction that
queues the work.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.audit.network import NetworkAudit
from daemon.config.peers import PeerConfig
from daemon.config.settings import Config, ListenerConfig
from daemon.listener import open_node
from daemon.receive.reception import Reception
from storage.files.spool import Spool
from storage.store import Store
from tests.benchmarks.timing import in_turn, seconds, show
from tests.builders.images.films import film
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, SENDER, free_port
from tests.tools.waiting import wait_until

FILMS = 20
SIDE = 2240
RUNS = 5


def run() -> None:
    """Print the seconds for one association of FILMS uncompressed 10 MB films."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        films = _films(folder)
        with _storescp(folder) as peer, _cxrd(folder) as own:
            values = in_turn(
                RUNS, storescp=lambda: _send(films, peer), cxrd=lambda: _send(films, own)
            )
    print(f"{FILMS} films of {SIDE} x {SIDE} x 16 bit in one association, storescu to")
    show(values, "s", baseline="storescp")


def _films(folder: Path) -> list[Path]:
    paths = []
    for number in range(FILMS):
        path = folder / f"film-{number}.dcm"
        path.write_bytes(film("bench", rows=SIDE, columns=SIDE, seed=number))
        paths.append(path)
    return paths


def _send(films: list[Path], port: int) -> float:
    """Send the films as new objects each time: their UIDs are invented on the way."""
    command = [require_tool("storescu"), "+II", "-aet", SENDER, "-aec", "CXRD", HOST, str(port)]
    return seconds(lambda: subprocess.run([*command, *map(str, films)], check=True))


@contextmanager
def _storescp(folder: Path) -> Iterator[int]:
    port, out = free_port(), folder / "storescp"
    out.mkdir()
    command = [require_tool("storescp"), "-od", str(out), str(port)]
    echo = [require_tool("echoscu"), HOST, str(port)]
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: subprocess.run(echo, check=False).returncode == 0, "storescp is up")
            yield port
        finally:
            process.terminate()


@contextmanager
def _cxrd(folder: Path) -> Iterator[int]:
    """The listener without the roles behind it."""
    config = Config(
        listener=ListenerConfig(port=free_port()),
        peers=(PeerConfig(name="sender", ae_title=SENDER, sends=True),),
    )
    spool = Spool(folder / "spool")
    with (
        Store.open(f"sqlite:///{folder / 'cxrd.sqlite'}", migrate=True) as store,
        open_node(config, Reception(spool, store, 30.0), NetworkAudit(store.audit)),
    ):
        yield config.listener.port
