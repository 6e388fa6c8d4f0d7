"""Bundles that must be refused before a film is read."""

import functools
import json
import math
import os
import shutil
import socket
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from cxr_model.predict.bundle import CARD_FILE, STARTER, WEIGHTS_FILE, Bundle
from tests.builders.bad_files.case import Case, Kind

Json = dict[str, Any]


@functools.cache
def _card() -> bytes:
    starter = Bundle.load(STARTER)
    return starter.with_card(starter.card).card.to_bytes()


def _copy(folder: Path) -> Path:
    """Write the starter with its outputs for the reference film to `folder`/bundle."""
    path = folder / "bundle"
    path.mkdir()
    (path / CARD_FILE).write_bytes(_card())
    shutil.copyfile(STARTER / WEIGHTS_FILE, path / WEIGHTS_FILE)
    return path


def card(name: str, line: str, edit: Callable[[Json], object], *, slow: bool = False) -> Case:
    """Return the case of a card that `edit` has changed."""

    def make(folder: Path) -> Path:
        path = _copy(folder)
        content = json.loads((path / CARD_FILE).read_bytes())
        edit(content)
        (path / CARD_FILE).write_text(json.dumps(content))
        return path

    return Case(name, Kind.BUNDLE, make, line, slow)


def text(name: str, line: str, edit: Callable[[str], str | bytes], *, slow: bool = False) -> Case:
    """Return the case of a card whose text `edit` has changed."""

    def make(folder: Path) -> Path:
        path = _copy(folder)
        changed = edit((path / CARD_FILE).read_text())
        data = changed if isinstance(changed, bytes) else changed.encode()
        (path / CARD_FILE).write_bytes(data)
        return path

    return Case(name, Kind.BUNDLE, make, line, slow)


def weights(name: str, line: str, edit: Callable[[Path], bytes]) -> Case:
    """Return the slow case of other weights, whose sha256 the card has."""

    def make(folder: Path) -> Path:
        path = _copy(folder)
        data = edit(path / WEIGHTS_FILE)
        (path / WEIGHTS_FILE).write_bytes(data)
        content = json.loads((path / CARD_FILE).read_bytes())
        content["weights"]["sha256"] = sha256(data).hexdigest()
        (path / CARD_FILE).write_text(json.dumps(content))
        return path

    return Case(name, Kind.BUNDLE, make, line, slow=True)


def replaced(name: str, line: str, file: str, put: Callable[[Path], object]) -> Case:
    """Return the case of a bundle with something else in the place of a file."""

    def make(folder: Path) -> Path:
        path = _copy(folder)
        (path / file).unlink()
        put(path / file)
        return path

    return Case(name, Kind.BUNDLE, make, line)


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], bytes]:
    def edit(path: Path) -> bytes:
        tensors = load_file(path)
        change(tensors)
        return save({name: tensor.contiguous() for name, tensor in tensors.items()})

    return edit


def _header(change: Callable[[Json], object]) -> Callable[[Path], bytes]:
    def edit(path: Path) -> bytes:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header)
        new = json.dumps(header).encode()
        return struct.pack("<Q", len(new)) + new + data[8 + length :]

    return edit


def _socket(path: Path) -> None:
    # The path of a socket is short: it is made beside and moved.
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/tmp/cxrd-{os.getpid()}.socket")  # noqa: S108 - moved at once
    shutil.move(f"/tmp/cxrd-{os.getpid()}.socket", path)  # noqa: S108


def _outside(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_bytes((STARTER / path.name).read_bytes())
    path.symlink_to(elsewhere)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


FIRST, LAST = "features.conv0.weight", "classifier.weight"
BIAS = "classifier.bias"

BUNDLES = (
    text("mean of NaN", "NaN is not a number of JSON", lambda t: t.replace("0.485", "NaN")),
    text("mean of Infinity", "Infinity is not", lambda t: t.replace("0.485", "-Infinity")),
    text("mean of 1e999", "number '1e999' is too large", lambda t: t.replace("0.485", "1e999")),
    card("std of 1e-320", "input std is .*0.0001", lambda c: c["input"].update(std=[1e-320] * 3)),
    card("std of 0", "input std is 0", lambda c: c["input"].update(std=[0, 0.2, 0.2])),
    card("std of a text", "input std is '0.2', not", lambda c: c["input"].update(std=["0.2"] * 3)),
    card("size of 10^9", "input size is 1000000000", lambda c: c["input"].update(size=10**9)),
    card("size of 192.5", "input size is 192.5", lambda c: c["input"].update(size=192.5)),
    card("size of true", "input size is True", lambda c: c["input"].update(size=True)),
    card("two channels", "not a list of 1 or 3", lambda c: c["input"].update(mean=[0.5, 0.5])),
    card("threshold of 1", "threshold of Mass is 1", lambda c: c["thresholds"].update(Mass=1)),
    card("threshold of null", "Mass is None", lambda c: c["thresholds"].update(Mass=None)),
    card("map scale of 0", "map scale of Mass is 0", lambda c: c["map_scales"].update(Mass=0)),
    card(
        "calibrator of 1e300",
        "calibrator of Mass: slope is 1e.300",
        lambda c: c["calibrators"].update(Mass={"method": "platt", "slope": 1e300, "intercept": 0}),
    ),
    card(
        "calibrator that falls",
        "calibrators cannot be used: a Platt slope must be positive",
        lambda c: c["calibrators"].update(Mass={"method": "platt", "slope": -1, "intercept": 0}),
    ),
    card(
        "isotonic knots of one place",
        "isotonic knots must rise",
        lambda c: c["calibrators"].update(
            Mass={"method": "isotonic", "logits": [0, 0], "calibrated": [0, 1]}
        ),
    ),
    card(
        "method of a list",
        "calibration method of Mass is list, not a text",
        lambda c: c["calibrators"].update(Mass={"method": ["platt"]}),
    ),
    card(
        "specificity of 85",
        "operating_point.specificity is 85",
        lambda c: c["operating_point"].update(specificity=85),
    ),
    card(
        "AUC of 7.5",
        "held_out.mean_auc is 7.5",
        lambda c: c["metrics"]["held_out"].update(mean_auc=7.5),
    ),
    card("name of two lines", "name .* not printable", lambda c: c.update(name="a\nb")),
    card("name of a bidi override", "not printable", lambda c: c.update(name="a\u202eb")),
    card(
        "name of 10^6 letters", "text has 1000000 characters", lambda c: c.update(name="a" * 10**6)
    ),
    card("NUL in a text", "character", lambda c: c["provenance"].update(description="\0")),
    card("name of a number", "name is 3, not a text", lambda c: c.update(name=3)),
    card("no labels", "no 'labels'", lambda c: c.pop("labels")),
    card("15 labels", "labels are not the 14", lambda c: c["labels"].append("Fracture")),
    card("labels of a number", "labels are not the 14", lambda c: c.update(labels=14)),
    card("weights of null", "does not name its weights", lambda c: c.update(weights=None)),
    card("weights elsewhere", "no file name", lambda c: c["weights"].update(file="../w")),
    card("split of 5", "provenance split is 5, not", lambda c: c["provenance"].update(split=5)),
    card("stages of a text", "stages is 'x'", lambda c: c["provenance"].update(stages="x")),
    card("fitted on 5", "fitted_on is 5", lambda c: c["provenance"].update(fitted_on=5)),
    card(
        "training only a text",
        "training_only is 'site', not a list",
        lambda c: c["provenance"].update(training_only="site"),
    ),
    card("metrics of a list", "metrics is list, not an object", lambda c: c.update(metrics=[])),
    card(
        "other outputs",
        "for the reference film the logit of Mass differs by 0.5",
        lambda c: c["reference"]["outputs"].__setitem__(4, c["reference"]["outputs"][4] + 0.5),
    ),
    card(
        "other input",
        "gives other outputs here",
        lambda c: c["input"].update(mean=[0.5] * 3),
        slow=True,
    ),
    card(
        "another film",
        "reference film is 'x'",
        lambda c: c["reference"].update(film="x"),
        slow=True,
    ),
    card(
        "13 outputs",
        "not a list of 14",
        lambda c: c["reference"]["outputs"].pop(),
    ),
    text("nested 10^5 levels", "nested more than 32", lambda t: "[" * 10**5 + "]" * 10**5),
    text(
        "nested 100 levels",
        "nested more than 32",
        lambda t: t.replace('"metrics": {', '"metrics": {"x": ' + "[" * 99 + "]" * 99 + ", ", 1),
    ),
    text("a key twice", "key 'name' occurs twice", lambda t: t.replace("{", '{"name": "b",', 1)),
    text("10^5 digits", "has 100000 digits", lambda t: t.replace("192,", "1" * 10**5 + ",", 1)),
    text("half a surrogate", "character", lambda t: t.replace("cxrd-starter", "\\ud800", 1)),
    text(
        "control in a key", "key .* not printable", lambda t: t.replace('"version"', '"v\\u001b"')
    ),
    text("not UTF-8", "not UTF-8", lambda t: t.encode().replace(b"cxrd-starter", b"\xff\xfe", 1)),
    text("not JSON", "not JSON", lambda t: t[: len(t) // 2]),
    text("10^6 values", "more than 200000 values", lambda t: "[" + "0," * 10**6 + "0]", slow=True),
    text("5 MB of spaces", "larger than 4 MB", lambda t: " " * (5 * 10**6) + t),
    replaced("card is a FIFO", "is a FIFO", CARD_FILE, os.mkfifo),
    replaced("card is a folder", "is a folder", CARD_FILE, Path.mkdir),
    replaced("card is a socket", "cannot be read", CARD_FILE, _socket),
    replaced("card links to zero", "link out", CARD_FILE, lambda p: p.symlink_to("/dev/zero")),
    replaced("card links to itself", "cannot be read", CARD_FILE, lambda p: p.symlink_to(p.name)),
    replaced("weights are a FIFO", "is a FIFO", WEIGHTS_FILE, os.mkfifo),
    replaced("weights are elsewhere", "is a link out of its folder", WEIGHTS_FILE, _outside),
    replaced("weights of 10^12 bytes", "larger than 64 MB", WEIGHTS_FILE, _large),
    replaced("no weights", "no weights.safetensors", WEIGHTS_FILE, lambda p: None),
    weights("no safetensors", "not safetensors", lambda p: b"\xff" * 1000),
    weights("cut weights", "take 14.* bytes of 7000", lambda p: _cut(p)),
    weights(
        "complex weights",
        f"tensor '{LAST}' of the weights is 'C64'",
        _header(lambda h: h[LAST].update(dtype="C64")),
    ),
    weights("int weights", "is 'I8'", _header(lambda h: h[LAST].update(dtype="I8"))),
    weights(
        "shape of 10^18",
        "shape that does not fit",
        _header(lambda h: h[LAST].update(shape=[10**9, 10**9])),
    ),
    weights(
        "tensors that overlap",
        "overlap or leave gaps|shape that does not fit",
        _header(lambda h: h[LAST].update(data_offsets=h[FIRST]["data_offsets"])),
    ),
    weights("weights of NaN", "not all finite", _tensors(lambda t: t[FIRST].fill_(math.nan))),
    weights(
        "negative variance",
        "have a negative variance in features.norm0.running_var",
        _tensors(lambda t: t["features.norm0.running_var"].fill_(-1)),
    ),
    weights(
        "weights of 1e30",
        "not a result",
        _tensors(lambda t: t["classifier.bias"].fill_(1e30)),
    ),
    weights(
        "weights of 0",
        "gives other outputs here",
        _tensors(lambda t: t[LAST].zero_()),
    ),
    weights(
        "300,000 outputs",
        "have 300,000 outputs, more than 1,000",
        _tensors(lambda t: t.update({BIAS: torch.zeros(300_000)})),
    ),
    weights("no classifier", "Missing key|missing", _tensors(lambda t: t.pop(LAST))),
)


def _cut(path: Path) -> bytes:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return data[: 8 + length + 7000]
