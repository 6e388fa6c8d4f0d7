"""Films damaged on purpose, by a seed: in their bytes or in their attributes."""

import random
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.builders.images.films import (
    ROOT,
    chest_film,
    chest_values,
    data_set_bytes,
    file_bytes,
    lut_item,
)
from tests.tools.installed import require_tool

_JPEG = {JPEGLosslessSV1: "+e1", JPEGExtended12Bit: "+ee", JPEGBaseline8Bit: "+eb"}
"""Transfer syntaxes that dcmtk's dcmcjpeg encodes, with its options; pydicom encodes the rest."""
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    JPEGLSLossless,
    *_JPEG,
)
FILMS_PER_STUDY = 20
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_LONG_VRS = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR"})
_VRS = (
    b"US",
    b"SS",
    b"UL",
    b"FD",
    b"DS",
    b"IS",
    b"LO",
    b"UI",
    b"PN",
    b"SQ",
    b"OB",
    b"UN",
    b"ZZ",
    b"\0\0",
    b"AT",
)
_STRANGE = (
    b"",
    b" ",
    b"\0\0",
    b"-1",
    b"0",
    b"-32768\\32767",
    b"1e308\\-1e308",
    b"nan\\inf",
    b"99999999999999999999",
    b"\\" * 400,
    b"^" * 300 + b"=" * 300,
    b"\x1b$B" * 200,
    b"\x1b$)C\xff\xfe\x80",
    b"=cmd|' /C calc'!A0",
    b"../../../../etc/passwd",
    b"\xff" * 64,
    b"A" * 65534,
    b"1.2.3\n4",
    b"\xff\xff",
    b"\x01\x00\x00\x00",
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A data set as it goes over the network, with the UIDs of its command."""

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    syntax: str
    data_set: bytes


def rich_film(number: int, syntax: str) -> Dataset:
    """A film with every attribute that is read or carried over, within (0008,0005) to pixels."""
    coded = Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = "399348003", "SCT", "AP"
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.ScheduledProcedureStepID = "SP1"
    request.AccessionNumber = "A1"
    request.ScheduledProtocolCodeSequence = Sequence([coded])
    equipment = Dataset()
    equipment.Manufacturer, equipment.PurposeOfReferenceCodeSequence = "Vendor", Sequence([coded])
    bits = 8 if number % 3 == 0 or syntax == JPEGBaseline8Bit else 12
    tone = [
        {"WindowCenter": 2 ** (bits - 1), "WindowWidth": 2**bits, "VOILUTFunction": "LINEAR"},
        {"VOILUTSequence": [lut_item(0, np.arange(2**bits) * 8 % 65536, 16, as_bytes=True)]},
        {"ModalityLUTSequence": [lut_item(0, np.arange(2**bits), 16)]},
        {},
    ][number % 4]
    direct = number % 2
    film = chest_film(
        chest_values(144, 136, bits),
        number=number,
        study=number // FILMS_PER_STUDY,
        bits_stored=bits,
        photometric=("MONOCHROME2", "MONOCHROME1")[number % 5 == 0],
        syntax=syntax,
        sop_class=(
            DigitalXRayImageStorageForPresentation if direct else ComputedRadiographyImageStorage
        ),
        SpecificCharacterSet=["", "ISO 2022 IR 87"] if number % 7 == 0 else "ISO_IR 100",
        PatientName="Müller^Anna" if number % 7 else "Yamada^Tarou",
        Modality="DX" if direct else "CR",
        PresentationIntentType="FOR PRESENTATION",
        ImageType=["ORIGINAL", "PRIMARY"],
        PatientAge="045Y",
        PatientBirthDate="19790102",
        IssuerOfPatientID="HOSPITAL",
        StudyDescription="Chest",
        SeriesDescription="Chest PA",
        TimezoneOffsetFromUTC="+0100",
        PatientOrientation=["L", "F"],
        ImagerPixelSpacing=["0.143", "0.143"],
        PresentationLUTShape="IDENTITY",
        RescaleSlope="1",
        RescaleIntercept="0",
        ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        ShutterLeftVerticalEdge="2",
        ShutterRightVerticalEdge="134",
        ShutterUpperHorizontalEdge="2",
        ShutterLowerHorizontalEdge="142",
        CenterOfCircularShutter=["72", "68"],
        RadiusOfCircularShutter="90",
        VerticesOfThePolygonalShutter=["1", "1", "1", "136", "144", "136", "144", "1"],
        CollimatorShape="RECTANGULAR",
        CollimatorLeftVerticalEdge="1",
        CollimatorRightVerticalEdge="136",
        CollimatorUpperHorizontalEdge="1",
        CollimatorLowerHorizontalEdge="144",
        NumberOfFrames="1",
        LossyImageCompression="01",
        LossyImageCompressionRatio="10",
        LossyImageCompressionMethod="ISO_10918_1",
        RequestAttributesSequence=Sequence([request]),
        ContributingEquipmentSequence=Sequence([equipment]),
        ProcedureCodeSequence=Sequence([coded]),
        ViewCodeSequence=Sequence([coded]),
        AnatomicRegionSequence=Sequence([coded]),
        **tone,
    )
    film.add_new(0x00280120, "US", 0)
    film.add_new(0x00280121, "US", 0)
    film.add_new(0x60003000, "OW", bytes(64))
    return film


def encoded(number: int, syntax: str) -> bytes:
    """The data set of `rich_film` in a syntax of `SYNTAXES`."""
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        film = rich_film(number, ExplicitVRLittleEndian)
        film.compress(syntax, generate_instance_uid=False)
    elif syntax in _JPEG:
        film = _as_jpeg(number, syntax)
    else:
        film = rich_film(number, syntax)
    return data_set_bytes(file_bytes(film))


def _as_jpeg(number: int, syntax: str) -> Dataset:
    """The film as dcmtk encodes it; its baseline takes eight bits only."""
    film = rich_film(number, syntax)
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with tempfile.TemporaryDirectory() as folder:
        source, packed = Path(folder) / "source.dcm", Path(folder) / "packed.dcm"
        source.write_bytes(file_bytes(film))
        encoder, option = require_tool("dcmcjpeg"), _JPEG[UID(syntax)]
        command = [encoder, "--uid-never", option, str(source), str(packed)]
        subprocess.run(command, check=True, capture_output=True)
        return dcmread(BytesIO(packed.read_bytes()))


def mutations(seed: int, count: int) -> Iterator[Mutation]:
    """Yield `count` films, each damaged in another way; a seed always gives the same films."""
    for number in range(1, count + 1):
        rng = random.Random(seed * 1_000_003 + number)
        syntax = rng.choice(SYNTAXES)
        name, damage = rng.choice(_DAMAGE)
        plain = encoded(number, syntax)
        is_deflated = syntax == DeflatedExplicitVRLittleEndian
        if is_deflated and name != "bytes":
            plain = zlib.decompress(plain, -zlib.MAX_WBITS)
        damaged = damage(plain, rng, syntax)
        if is_deflated and name != "bytes":
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            damaged = packer.compress(damaged) + packer.flush()
        film_class = (
            ComputedRadiographyImageStorage,
            DigitalXRayImageStorageForPresentation,
        )[number % 2]
        uid = f"{ROOT}.{number // FILMS_PER_STUDY}.1.{number}"
        yield Mutation(name, film_class, uid, syntax, damaged)


def _flip_bytes(data: bytes, rng: random.Random, _syntax: str) -> bytes:
    changed = bytearray(data)
    end = rng.choice([min(len(data), 1600), len(data)])
    for _ in range(rng.choice([1, 1, 2, 8, 40])):
        at = rng.randrange(end)
        changed[at] = rng.choice([0, 255, rng.randrange(256), changed[at] ^ 1 << rng.randrange(8)])
    return bytes(changed)


def _cut(data: bytes, rng: random.Random, _syntax: str) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.5 else data[:at] + data[at + rng.randrange(1, 60) :]


def _insert(data: bytes, rng: random.Random, _syntax: str) -> bytes:
    at = rng.randrange(min(len(data), 2500))
    return data[:at] + rng.randbytes(rng.choice([1, 2, 8, 300])) + data[at:]


def _change_element(data: bytes, rng: random.Random, syntax: str) -> bytes:
    """Delete, double, retype, fill or misdescribe elements at top level."""
    parts = list(elements(data, syntax))
    for _ in range(rng.choice([1, 1, 1, 3])):
        # A deleted or emptied element is not changed again.
        at = rng.choice([place for place, part in enumerate(parts) if len(part) > 12])
        parts[at] = rng.choice(_ELEMENT_CHANGES)(parts[at], rng, syntax)
    return b"".join(parts)


def elements(data: bytes, syntax: str) -> Iterator[bytes]:
    """The elements at top level of a sound data set; what comes from the pixels on is one."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    at = 0
    while at < len(data):
        start = at
        (group,) = struct.unpack_from(f"{order}H", data, at)
        if group == 0x7FE0:
            yield data[at:]
            return
        at, length = _value_at(data, at, syntax, order)
        at += length
        yield data[start:at]


def _value_at(data: bytes, at: int, syntax: str, order: str) -> tuple[int, int]:
    if syntax == ImplicitVRLittleEndian:
        return at + 8, int(struct.unpack_from("<I", data, at + 4)[0])
    if data[at + 4 : at + 6] in _LONG_VRS:
        return at + 12, int(struct.unpack_from(f"{order}I", data, at + 8)[0])
    return at + 8, int(struct.unpack_from(f"{order}H", data, at + 6)[0])


def _with_value(part: bytes, value: bytes, syntax: str, said: int | None = None) -> bytes:
    """Return the element with another value and a length that may be false."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    length = len(value) if said is None else said
    start, _ = _value_at(part, 0, syntax, order)
    if syntax == ImplicitVRLittleEndian or start == 12:
        return part[: start - 4] + struct.pack(f"{order}I", length & 0xFFFFFFFF) + value
    return part[:6] + struct.pack(f"{order}H", length & 0xFFFF) + value


def _value(part: bytes, syntax: str) -> bytes:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start, _ = _value_at(part, 0, syntax, order)
    return part[start:]


def _delete(_part: bytes, _rng: random.Random, _syntax: str) -> bytes:
    return b""


def _double(part: bytes, _rng: random.Random, _syntax: str) -> bytes:
    return part + part


def _retype(part: bytes, rng: random.Random, _syntax: str) -> bytes:
    return part[:4] + rng.choice(_VRS) + part[6:]


def _strange(part: bytes, rng: random.Random, syntax: str) -> bytes:
    return _with_value(part, rng.choice(_STRANGE), syntax)


def _many(part: bytes, rng: random.Random, syntax: str) -> bytes:
    value = _value(part, syntax) or b"1 "
    return _with_value(part, (value * 65000)[: rng.choice([2000, 65534])], syntax)


def _number(part: bytes, rng: random.Random, syntax: str) -> bytes:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    number = rng.choice([0, 1, 2, 7, 127, 32767, 32768, 65535, rng.randrange(65536)])
    return _with_value(part, struct.pack(f"{order}H", number), syntax)


def _wrong_length(part: bytes, rng: random.Random, syntax: str) -> bytes:
    value = _value(part, syntax)
    said = rng.choice([len(value) - 1, len(value) + 1, 0, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    return _with_value(part, value, syntax, said)


def _other_tag(part: bytes, rng: random.Random, _syntax: str) -> bytes:
    return rng.randbytes(4) + part[4:]


_ELEMENT_CHANGES: tuple[Callable[[bytes, random.Random, str], bytes], ...] = (
    _delete,
    _double,
    _retype,
    _strange,
    _strange,
    _strange,
    _many,
    _number,
    _number,
    _wrong_length,
    _other_tag,
)


def _nest(data: bytes, rng: random.Random, syntax: str) -> bytes:
    """Return a deep, long or unterminated sequence under the tag of a sequence that is read."""
    keyword = rng.choice(
        ["RequestAttributesSequence", "ContributingEquipmentSequence", "VOILUTSequence"]
    )
    tag = tag_for_keyword(keyword)
    assert tag is not None
    body = rng.choice([_deep, _long, _endless, _deep_and_closed])(tag, rng, syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    parts = [
        part
        for part in elements(data, syntax)
        if struct.unpack_from(f"{order}HH", part) != (tag >> 16, tag & 0xFFFF)
    ]
    parts.append(body)
    pixels = next(
        i for i, part in enumerate(parts) if struct.unpack_from(f"{order}H", part)[0] > 0x40
    )
    parts.insert(pixels, parts.pop())
    return b"".join(parts)


def _opening(tag: int, syntax: str, length: int) -> bytes:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == ImplicitVRLittleEndian:
        return head + struct.pack("<I", length)
    return head + b"SQ\0\0" + struct.pack(f"{order}I", length)


def _mark(mark: tuple[int, int], length: int, syntax: str) -> bytes:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    return struct.pack(f"{order}HHI", *mark, length)


def _deep(tag: int, rng: random.Random, syntax: str) -> bytes:
    level = _opening(tag, syntax, 0xFFFFFFFF) + _mark(_ITEM, 0xFFFFFFFF, syntax)
    return level * rng.choice([40, 400, 10_000])


def _deep_and_closed(tag: int, rng: random.Random, syntax: str) -> bytes:
    closing = _mark(_ITEM_END, 0, syntax) + _mark(_SEQUENCE_END, 0, syntax)
    depth = rng.choice([20, 40, 200, 400])
    level = _opening(tag, syntax, 0xFFFFFFFF) + _mark(_ITEM, 0xFFFFFFFF, syntax)
    return level * depth + closing * depth


def _long(tag: int, rng: random.Random, syntax: str) -> bytes:
    items = _mark(_ITEM, 0, syntax) * rng.choice([1000, 60_000])
    if rng.random() < 0.5:
        return _opening(tag, syntax, len(items)) + items
    return _opening(tag, syntax, 0xFFFFFFFF) + items + _mark(_SEQUENCE_END, 0, syntax)


def _endless(tag: int, rng: random.Random, syntax: str) -> bytes:
    return _opening(tag, syntax, 0xFFFFFFFF) + _mark(_ITEM, 0, syntax) * rng.choice([0, 1, 50])


_DAMAGE: tuple[tuple[str, Callable[[bytes, random.Random, str], bytes]], ...] = (
    ("bytes", _flip_bytes),
    ("bytes", _flip_bytes),
    ("cut", _cut),
    ("insert", _insert),
    ("element", _change_element),
    ("element", _change_element),
    ("element", _change_element),
    ("element", _change_element),
    ("element", _change_element),
    ("nesting", _nest),
)
