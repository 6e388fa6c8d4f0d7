"""Tables of predictions, labels and boxes, and calibrations, that must be refused."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cxr_model.calibrate.calibration import FORMAT
from cxr_model.findings import LABELS
from tests.builders.bad_files.case import Case, Kind

_HEADER = ["image", "patient_id"] + [f"{p}_{label}" for p in ("prob", "y") for label in LABELS]
_HEAD = ",".join(_HEADER)
_ROW = ",".join(["0.5"] * 14 + ["0", "1"] * 7)


def good(rows: int = 3) -> str:
    """Return a table of predictions that is read."""
    return "\n".join([_HEAD, *(f"{i}.png,{i},{_ROW}" for i in range(rows))]) + "\n"


def table(
    kind: Kind,
    name: str,
    line: str,
    content: Callable[[], str | bytes],
    file: str = "table.csv",
    *,
    slow: bool = False,
) -> Case:
    """Return the case of a table with this content."""

    def make(folder: Path) -> Path:
        data = content()
        (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)
        (folder / "film.png").touch()
        return folder / file

    return Case(name, kind, make, line, slow)


def predictions(
    name: str, line: str, content: Callable[[], str | bytes], *, slow: bool = False
) -> Case:
    """Return the case of a table of predictions."""
    return table(Kind.PREDICTIONS, name, line, content, slow=slow)


def put(kind: Kind, name: str, line: str, make: Callable[[Path], object]) -> Case:
    """Return the case of something that is no regular file."""

    def made(folder: Path) -> Path:
        make(folder / "table.csv")
        return folder / "table.csv"

    return Case(name, kind, made, line)


def calibration(name: str, line: str, edit: Callable[[dict[str, Any]], object]) -> Case:
    """Return the case of a calibration that `edit` has changed."""

    def content() -> str:
        made = {
            "format": FORMAT,
            "labels": {label: {"method": "identity"} for label in LABELS},
            "fitted_on": {"patients": 0, "salt": "", "digests": ""},
            "report": {},
        }
        edit(made)
        return json.dumps(made)

    return table(Kind.CALIBRATION, name, line, content, "calibration.json")


def _packed_zeros() -> bytes:
    return gzip.compress(bytes(10**9), compresslevel=1)


def _packed_rows() -> bytes:
    return gzip.compress((_HEAD + "\n").encode() + f"1.png,1,{_ROW}\n".encode() * 10**6, 1)


def _zeros(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


P = Kind.PREDICTIONS
TABLES = (
    predictions("10^6 columns", "a line has more", lambda: ",".join(map(str, range(10**6))) + "\n"),
    predictions("5000 columns", "5,000 columns", lambda: ",".join(map(str, range(5000))) + "\n"),
    predictions(
        "a column twice", "2 columns 'image'", lambda: good().replace("patient_id", "image")
    ),
    predictions("NUL", "holds a NUL byte", lambda: good().replace("1.png", "1\0.png")),
    predictions("not UTF-8", "utf-8", lambda: good().encode().replace(b"1.png", b"\xff.png")),
    predictions("header not UTF-8", "first line cannot", lambda: b"\xff" + good().encode()),
    predictions("UTF-16", "first line|NUL", lambda: good().encode("utf-16")),
    predictions("NaN", "is nan, not between", lambda: good().replace("0.5", "NaN", 1)),
    predictions("inf", "is inf, not between", lambda: good().replace("0.5", "inf", 1)),
    predictions("1e999", "is inf, not between", lambda: good().replace("0.5", "1e999", 1)),
    predictions(
        "10^5 digits", "not a number|not between", lambda: good().replace("0.5", "9" * 5000, 1)
    ),
    predictions("complex", "not a number", lambda: good().replace("0.5", "1+2j", 1)),
    predictions("outcome of 2", "not 0 or 1", lambda: good().replace(",1\n", ",2\n", 1)),
    predictions("no rows", "no rows", lambda: good(0)),
    predictions("nothing", "names no column", lambda: ""),
    predictions(
        "a row too long", "cannot be read as a CSV", lambda: good() + f"9.png,9,{_ROW},1,1\n"
    ),
    predictions(
        "each row too long",
        "cannot be read",
        lambda: good().replace("\n", ",1\n").replace("_Hernia,1\n", "_Hernia\n", 1),
    ),
    predictions("an image twice", "listed twice", lambda: good() + f"1.png,1,{_ROW}\n"),
    predictions("an open quote", "cannot be read|EOF", lambda: good() + '"' + good(50)),
    predictions("half a table", "empty cells|not between", lambda: good()[:-50]),
    predictions(
        "unknown label",
        "unknown label 'Fracture'",
        lambda: good().replace("prob_Mass", "prob_Fracture"),
    ),
    predictions(
        "controls in a column", "not printable", lambda: good().replace("prob_Mass", "prob_\x1b[2J")
    ),
    predictions("gzip of 10^9 zeros", "packed to less|NUL", _packed_zeros, slow=True),
    predictions("gzip of 10^6 rows", "packed to less|cells", _packed_rows, slow=True),
    predictions("cut gzip", "data end early", lambda: gzip.compress(good(500).encode())[:-900]),
    predictions("zip", "another way than gzip", lambda: b"PK\x03\x04" + bytes(100)),
    predictions("a line of 10^8", "a line has more", lambda: b"image," + b"a" * 10**8, slow=True),
    predictions("2 * 10^7 cells", "16,000,000 cells", lambda: good() + ",\n" * 10**7, slow=True),
    put(P, "a FIFO", "is a FIFO", os.mkfifo),
    put(P, "a folder", "is a folder", Path.mkdir),
    put(P, "10^12 bytes", "larger than 128 MB", _zeros),
    put(P, "a link to a device", "is a device", lambda p: p.symlink_to("/dev/zero")),
    put(P, "a link to itself", "cannot be read", lambda p: p.symlink_to(p.name)),
    put(P, "no file", "no file", lambda p: None),
    table(Kind.LABELS, "labels of 10^6 columns", "a line has more", lambda: "file," * 10**6),
    table(
        Kind.LABELS,
        "unknown finding",
        "unknown finding 'Fracture'",
        lambda: "file,patient_id,labels\nfilm.png,1,Fracture\n",
    ),
    table(
        Kind.LABELS,
        "a column of labels twice",
        "2 columns 'file'",
        lambda: "file,file,patient_id,labels\n",
    ),
    table(Kind.LABELS, "packed labels", "packed to less|NUL", _packed_zeros, slow=True),
    put(Kind.LABELS, "labels are a FIFO", "no label table|FIFO", os.mkfifo),
    table(
        Kind.SOFT_TARGETS,
        "soft target of NaN",
        "not probab",
        lambda: "image," + ",".join(f"prob_{x}" for x in LABELS) + "\na," + ",".join(["nan"] * 14),
    ),
    put(Kind.SOFT_TARGETS, "soft targets are a FIFO", "is a FIFO", os.mkfifo),
    table(
        Kind.BOXES,
        "a box of NaN",
        "box of more than 65535",
        lambda: "i,f,x,y,w,h\na,Mass,nan,0,1,1\n",
    ),
    table(
        Kind.BOXES,
        "a box of 1e300",
        "box of more than 65535",
        lambda: "i,f,x,y,w,h\na,Mass,0,0,1e300,1\n",
    ),
    table(
        Kind.BOXES, "boxes of noise", "NUL|cannot be read|expected", lambda: bytes(range(256)) * 100
    ),
    put(Kind.BOXES, "boxes are a FIFO", "is a FIFO", os.mkfifo),
    calibration(
        "a slope of 1e300",
        "malformed",
        lambda c: c["labels"].update(Mass={"method": "platt", "slope": 1e300, "intercept": 0}),
    ),
    calibration("a curve of a text", "malformed", lambda c: c["labels"].update(Mass="platt")),
    calibration("a report of a list", "malformed", lambda c: c.update(report=[1])),
    calibration("damaged patients", "malformed", lambda c: c["fitted_on"].update(patients=7)),
    table(Kind.CALIBRATION, "calibration of NaN", "NaN is not a number", lambda: '{"format": NaN}'),
    table(Kind.CALIBRATION, "nested calibration", "nested", lambda: "[" * 10**5 + "]" * 10**5),
    put(Kind.CALIBRATION, "calibration is a FIFO", "is a FIFO", os.mkfifo),
)
