"""Work over a store of 100,000 studies: exports, the audit trail, the start, the status page.

Each study is an image with 14 findings, a report and a heatmap, both delivered, their files, and
three rows of the audit trail. The peers are plain scripts that read the same tables with sqlite3.
"""

import contextlib
import csv
import datetime
import hashlib
import os
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from cxr_model.findings import LABELS
from storage.files.folder_spool import FolderSpool
from storage.store import Store
from storage.upkeep.integrity import check_sqlite
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_least
from tests.benchmarks.setting import Setting
from tests.benchmarks.sides.programs import Serve
from tests.benchmarks.store.filling import fill
from tests.benchmarks.timing import alternate, in_turn, seconds
from tests.tools.cli import environment

STUDIES, QUICK_STUDIES = 100_000, 2_000
PAGES = 20
EXPORT, VERIFY, TRAIL = "cxrd export", "cxrd audit verify", "cxrd audit export"
PLAIN = "sqlite3 and csv alone"
HASHED = "sqlite3 and hashlib alone"


def run(setting: Setting) -> Part:
    """Measure each beside its peer, or beside an empty store."""
    count = setting.pick(STUDIES, QUICK_STUDIES)
    part = Part("store", f"A store of {count:,} studies")
    empty, tenth, large = (Serve(setting.folder / name) for name in ("empty", "tenth", "large"))
    fill(tenth.data, count // 10)
    fill(large.data, count)
    database = large.data / "cxrd.sqlite"
    part.facts.append(Fact("size of the database", database.stat().st_size / 1e6, "MB"))
    _measure_commands(part, setting, tenth, large)
    _measure_starts(part, setting, empty, large)
    _measure_pages(part, empty, large)
    _measure_checks(part, large.data)
    return part


def _measure_commands(part: Part, setting: Setting, tenth: Serve, large: Serve) -> None:
    database, out = large.data / "cxrd.sqlite", setting.folder / "out.csv"
    with sqlite3.connect(database) as connection:
        images = int(connection.execute("SELECT count(*) FROM instances").fetchone()[0])
        events = int(connection.execute("SELECT count(*) FROM audit_events").fetchone()[0])
    cases = [
        (EXPORT, ["export", "--out", str(out)], images, PLAIN, _plain_export, at_least(20_000)),
        (VERIFY, ["audit", "verify"], events, HASHED, _plain_verify, None),
        (TRAIL, ["audit", "export", "--out", str(out)], events, PLAIN, _plain_trail, None),
    ]
    for name, arguments, rows, peer, plain, goal in cases:
        peaks: dict[str, list[float]] = {"large": [], "tenth": []}
        values = alternate(
            setting.pick(5, 1),
            {
                name: partial(_command, large, arguments, out, peaks["large"]),
                f"{name}, a tenth of the store": partial(
                    _command, tenth, arguments, out, peaks["tenth"]
                ),
                peer: lambda plain=plain: seconds(lambda: plain(database, out)),  # type: ignore[misc]
            },
        )
        part.measures.append(
            Measure(
                f"{name} of {rows:,} rows, the whole command",
                "s",
                values,
                [Ratio(name, peer, "of the time of the plain script")],
            )
        )
        middle = {side: statistics.median(series) for side, series in peaks.items()}
        part.facts += [
            Fact(f"{name}: rate", rows / statistics.median(values[name]), "rows/s", goal),
            Fact(f"{name}: most memory", middle["large"], "MB"),
            Fact(f"{name}: most memory with a tenth of the store", middle["tenth"], "MB"),
        ]


def _command(daemon: Serve, arguments: list[str], out: Path, peaks: list[float]) -> float:
    """Return the seconds of a command, and note its most resident memory in MB."""
    out.unlink(missing_ok=True)
    os.sync()
    command = [sys.executable, "-m", "daemon", *arguments, "--config", str(daemon.config)]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def wait() -> None:
        peak = 0.0
        while process.poll() is None:
            # The peak in the usage of an ended process would be that of its parent at the fork.
            peak = max(peak, _peak_megabytes(process.pid))
            time.sleep(0.01)
        assert process.returncode == 0, command
        peaks.append(peak)

    return seconds(wait)


def _peak_megabytes(process: int) -> float:
    """Return the most resident memory of a process so far; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _plain_export(database: Path, out: Path) -> None:
    """Write the images with probability and presence of each label."""
    with sqlite3.connect(database) as connection, out.open("w", newline="") as file:
        findings = connection.execute(
            "SELECT probability, present FROM findings ORDER BY instance_id, position"
        )
        writer = csv.writer(file)
        for row in connection.execute("SELECT * FROM instances ORDER BY id"):
            found = findings.fetchmany(len(LABELS))
            writer.writerow((*row, *(value for pair in found for value in pair)))


def _plain_verify(database: Path, _: Path) -> None:
    """Hash every row with the row before it."""
    with sqlite3.connect(database) as connection:
        for *cells, _hash in connection.execute("SELECT * FROM audit_events ORDER BY number"):
            hashlib.sha256("".join(map(str, cells)).encode()).hexdigest()


def _plain_trail(database: Path, out: Path) -> None:
    with sqlite3.connect(database) as connection, out.open("w", newline="") as file:
        csv.writer(file).writerows(connection.execute("SELECT * FROM audit_events ORDER BY number"))


def _measure_starts(part: Part, setting: Setting, empty: Serve, large: Serve) -> None:
    def start(daemon: Serve) -> float:
        taken = seconds(daemon.start)
        daemon.stop()
        return taken

    values = in_turn(setting.pick(3, 1), large=partial(start, large), empty=partial(start, empty))
    ratios = [Ratio("large", "empty", "of the time with an empty store")]
    part.measures.append(Measure("start of the daemon, all roles ready", "s", values, ratios))


def _measure_pages(part: Part, empty: Serve, large: Serve) -> None:
    with empty, large:
        values = in_turn(PAGES, large=partial(_page, large), empty=partial(_page, empty))
    ratios = [Ratio("large", "empty", "of the time with an empty store")]
    part.measures.append(Measure("status page", "s", values, ratios))


def _page(daemon: Serve) -> float:
    values = yaml.safe_load(daemon.config.read_text(encoding="utf-8"))
    token = (daemon.data / "web_token").read_text(encoding="utf-8").strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{values['web']['port']}/", headers={"Authorization": f"Bearer {token}"}
    )
    return seconds(lambda: urllib.request.urlopen(request).read())


def _measure_checks(part: Part, data: Path) -> None:
    spool = FolderSpool(data / "spool")
    now = datetime.datetime.now(datetime.UTC)
    with Store.open(f"sqlite:///{data / 'cxrd.sqlite'}", migrate=False) as store:
        checks: dict[str, Callable[[], object]] = {
            "quick_check of the store": lambda: check_sqlite(data / "cxrd.sqlite", None),
            "size of every file": lambda: list(store.integrity.faults(spool, read=False)),
            "what may be purged, nothing old": lambda: store.retention.old_studies(
                now - datetime.timedelta(days=365), ()
            ),
            "what may be purged, everything old": lambda: next(
                store.retention.purge(spool, now + datetime.timedelta(days=365), ())
            ),
        }
        part.facts += [Fact(name, seconds(action), "s") for name, action in checks.items()]
