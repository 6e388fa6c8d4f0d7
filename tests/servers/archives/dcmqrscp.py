"""dcmtk's archive on loopback, started for a test and stopped after it."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dicom_io.query.session import QuerySession
from dicom_io.read.header import read_header
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, echo, pair_of
from dicom_io.send.store_status import Disposition
from tests.servers.archives.scripted import QUICK
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, NODE, free_port
from tests.tools.waiting import wait_until

AE_TITLE = "DCMQRSCP"


@contextmanager
def running_dcmqrscp(folder: Path, node_port: int | None = None) -> Iterator[Destination]:
    """Run an empty archive; it knows this node at `node_port`, or not at all."""
    program = require_tool("dcmqrscp")
    port = free_port()
    kept = folder / "kept"
    kept.mkdir(parents=True)
    known = f"cxrd = ({NODE}, {HOST}, {node_port})" if node_port else ""
    (folder / "dcmqrscp.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{known}\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{AE_TITLE} {kept} RW (200, 1024mb) ANY\nAETable END\n",
        encoding="utf-8",
    )
    archive = Destination("dcmtk", AE_TITLE, HOST, port, NODE, QUICK)
    command = [program, "-c", str(folder / "dcmqrscp.cfg")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as run,
    ):
        try:
            wait_until(lambda: echo(archive, sop_classes=()).ok, "dcmqrscp answers")
            yield archive
        finally:
            run.terminate()


def fill(archive: Destination, films: Sequence[bytes]) -> None:
    """Store films in an archive, and wait until its index has them: dcmtk's is written later."""
    pairs = {pair_of(data) for data in films}
    with Sender(archive, sop_classes=(), also=pairs) as sender:
        for data in films:
            result = sender.send(data)
            assert result.disposition is Disposition.DELIVERED, result.detail
    studies = {header.study_instance_uid for header in map(read_header, films)}
    with QuerySession(archive) as session:

        def are_found() -> bool:
            return sum(len(session.find_films(uid)) for uid in studies) == len(films)

        wait_until(are_found, "the archive finds the films")
