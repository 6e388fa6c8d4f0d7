"""Malformed DICOM files: one valid CT image, changed in one place for each case.

The categories are those of published collections of files that attack a DICOM receiver.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

CT = "1.2.840.10008.5.1.4.1.1.2"
UID = "1.2.826.0.1.3680043.10.1474.9.1"
EXPLICIT, DEFLATED, RLE = (f"1.2.840.10008.1.2.{last}" for last in ("1", "1.99", "5"))

LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT")

Element = tuple[int, bytes, bytes]
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

UNDEFINED = 0xFFFFFFFF


def tag_bytes(tag: int) -> bytes:
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF)


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Encode an element in explicit VR, with a false length if one is given."""
    length = len(value) if length is None else length
    if vr in LONG_VRS:
        return tag_bytes(tag) + vr + struct.pack("<HI", 0, length) + value
    return tag_bytes(tag) + vr + struct.pack("<H", length & 0xFFFF) + value


def item(content: bytes, length: int | None = None) -> bytes:
    return tag_bytes(ITEM) + struct.pack("<I", len(content) if length is None else length) + content


def delimiter(tag: int) -> bytes:
    return tag_bytes(tag) + bytes(4)


def text(value: str) -> bytes:
    raw = value.encode()
    return raw + b" " * (len(raw) % 2)


def uid(value: str) -> bytes:
    raw = value.encode()
    return raw + b"\0" * (len(raw) % 2)


def number(value: int) -> bytes:
    return struct.pack("<H", value)


META: dict[int, Element] = {
    tag: (tag, vr, value)
    for tag, vr, value in (
        (0x00020001, b"OB", b"\0\1"),
        (0x00020002, b"UI", uid(CT)),
        (0x00020003, b"UI", uid(UID)),
        (0x00020010, b"UI", uid(EXPLICIT)),
        (0x00020012, b"UI", uid("1.2.826.0.1.3680043.10.1474.1")),
        (0x00020013, b"SH", text("MADE_FOR_TESTS")),
    )
}

DATA: dict[int, Element] = {
    tag: (tag, vr, value)
    for tag, vr, value in (
        (0x00080016, b"UI", uid(CT)),
        (0x00080018, b"UI", uid(UID)),
        (0x00080020, b"DA", b"20250101"),
        (0x00080030, b"TM", b"120000"),
        (0x00080050, b"SH", b"MADE0001"),
        (0x00080060, b"CS", b"CT"),
        (0x00080070, b"LO", b"MADE"),
        (0x00100010, b"PN", text("MADE^CASE")),
        (0x00100020, b"LO", text("MADE-0001")),
        (0x0020000D, b"UI", uid("1.2.826.0.1.3680043.10.1474.9")),
        (0x0020000E, b"UI", uid("1.2.826.0.1.3680043.10.1474.9.2")),
        (0x00200013, b"IS", b"1 "),
        (0x00280002, b"US", number(1)),
        (0x00280004, b"CS", text("MONOCHROME2")),
        (0x00280010, b"US", number(64)),
        (0x00280011, b"US", number(64)),
        (0x00280100, b"US", number(16)),
        (0x00280101, b"US", number(12)),
        (0x00280102, b"US", number(11)),
        (0x00280103, b"US", number(0)),
        (0x7FE00010, b"OW", bytes(range(256)) * 32),
    )
}


@dataclass(frozen=True)
class Parts:
    """Parts of a file; a case replaces some of them."""

    preamble: bytes = b"\0" * 128 + b"DICM"
    meta: dict[int, Element] = field(default_factory=lambda: dict(META))
    meta_length: int | None = None
    data: dict[int, Element] = field(default_factory=lambda: dict(DATA))
    before_pixels: bytes = b""
    raw: dict[int, bytes] = field(default_factory=dict)
    """Elements by tag that are written as these bytes."""
    body: Callable[[bytes], bytes] = lambda data_set: data_set

    def encode(self) -> bytes:
        meta = b"".join(self.raw.get(one[0], element(*one)) for one in self.meta.values())
        length = len(meta) if self.meta_length is None else self.meta_length
        data = b""
        for tag in sorted({*self.data, *(tag for tag in self.raw if tag not in self.meta)}):
            if tag == 0x7FE00010:
                data += self.before_pixels
            data += self.raw[tag] if tag in self.raw else element(*self.data[tag])
        return (
            self.preamble
            + element(0x00020000, b"UL", struct.pack("<I", length))
            + meta
            + self.body(data)
        )


def with_values(*elements: Element, **changes: Any) -> Parts:
    """Return the valid file with other or further elements."""
    data = DATA | {one[0]: one for one in elements}
    return Parts(data=data, **changes)


def raw(tag: int, encoded: bytes) -> Parts:
    return Parts(raw={tag: encoded})


def with_meta(*elements: Element, **changes: Any) -> Parts:
    return Parts(meta=META | {one[0]: one for one in elements}, **changes)


Cases = Iterator[tuple[str, Parts]]

ATTRIBUTES = (
    ("patientname", 0x00100010, b"PN", 64),
    ("patientid", 0x00100020, b"LO", 64),
    ("accessionnumber", 0x00080050, b"SH", 16),
    ("studydescription", 0x00081030, b"LO", 64),
    ("manufacturer", 0x00080070, b"LO", 64),
    ("manufacturermodelname", 0x00081090, b"LO", 64),
    ("institutionname", 0x00080080, b"LO", 64),
    ("patientsex", 0x00100040, b"CS", 16),
    ("seriesdescription", 0x0008103E, b"LO", 64),
    ("sopinstanceuid", 0x00080018, b"UI", 64),
    ("studyinstanceuid", 0x0020000D, b"UI", 64),
    ("seriesinstanceuid", 0x0020000E, b"UI", 64),
)


def overflows() -> Cases:
    """Values longer than their VR allows, and dates, times and ages that are none."""
    for name, tag, vr, most in ATTRIBUTES:
        lengths = {
            "exact_max": most,
            "over_1": most + 1,
            "over_2x": 2 * most,
            "over_10x": 10 * most,
            "over_64KB": 65540,
            "empty": 0,
            "len1": 1,
        }
        for case, length in lengths.items():
            filler = b"1" if vr == b"UI" else b"A"
            yield f"{name}_{case}", with_values((tag, vr, filler * length))
    yield "pn_256separators", with_values((0x00100010, b"PN", b"^" * 256))
    yield "uid_200_components", with_values((0x00080018, b"UI", uid(".".join(["1"] * 200))))
    yield "cs_lowercase", with_values((0x00080060, b"CS", b"ct"))
    for age in ("999Y", "000Y", "0045Y", "-01Y", "XXXY", "", "    "):
        yield f"age_{age.strip() or len(age)}", with_values((0x00101010, b"AS", text(age)))
    for date in ("00000000", "99999999", "2025-01-01", "20251301", ""):
        yield f"date_{date or 'empty'}", with_values((0x00080020, b"DA", text(date)))
    for time in ("999999.999999", "", "300000", "-120000"):
        yield f"time_{time or 'empty'}", with_values((0x00080030, b"TM", text(time)))


def wrong_vrs() -> Cases:
    """Elements in another VR than the dictionary's, and implicit elements in an explicit file."""
    short = (
        (0x00080018, b"LO"),
        (0x00280010, b"UL"),
        (0x00280100, b"SS"),
        (0x00080020, b"LO"),
        (0x00080020, b"DS"),
        (0x00100010, b"OB"),
        (0x7FE00010, b"UN"),
        (0x00200013, b"AS"),
        (0x00280101, b"UL"),
        (0x00080060, b"LO"),
        (0x00080070, b"UN"),
        (0x00280004, b"SH"),
    )
    for tag, vr in short:
        yield f"{tag:08x}_as_{vr.decode()}", with_values((tag, vr, DATA[tag][2]))
    for tag, value in (
        (0x00280010, struct.pack("<I", 64)),
        (0x00100010, bytes(range(16))),
        (0x00080020, b"\xff" * 8),
    ):
        implicit = tag_bytes(tag) + struct.pack("<I", len(value)) + value
        yield f"implicit_{tag:08x}", raw(tag, implicit)


SEQUENCE = 0x00081115


def nested(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = element(SEQUENCE, b"SQ", item(content))
    return content


def sequences() -> Cases:
    """Sequences too deep or too wide, and without the delimiters they need."""
    for depth in (10, 50, 100, 500):
        yield f"depth_{depth}", raw(SEQUENCE, nested(depth))
    inner = element(0x00080060, b"CS", b"CT")
    for count in (1, 100, 1000):
        yield f"wide_{count}_items", raw(SEQUENCE, element(SEQUENCE, b"SQ", item(inner) * count))
    undefined = partial(element, SEQUENCE, b"SQ", length=UNDEFINED)
    closed = item(inner, UNDEFINED) + delimiter(ITEM_END)
    yield "undef_length_seq", raw(SEQUENCE, undefined(closed + delimiter(SEQUENCE_END)))
    yield "missing_delim", raw(SEQUENCE, undefined(closed))
    yield "stray_seq_delim", Parts(before_pixels=delimiter(SEQUENCE_END))
    yield (
        "seq_with_pixeldata",
        raw(SEQUENCE, element(SEQUENCE, b"SQ", item(element(0x7FE00010, b"OW", bytes(128))))),
    )
    yield "zero_length_items", raw(SEQUENCE, element(SEQUENCE, b"SQ", item(b"") * 3))


def pixels() -> Cases:
    """Pixel data that does not fit its description, and descriptions that no image has."""
    whole = DATA[0x7FE00010][2]
    for name, value in (
        ("half", whole[: len(whole) // 2]),
        ("2x", whole * 2),
        ("10x", whole * 10),
        ("zero", b""),
        ("one_byte", b"\1\0"),
    ):
        yield f"buf_{name}", with_values((0x7FE00010, b"OW", value))
    yield "rows_zero", with_values((0x00280010, b"US", number(0)))
    yield "cols_zero", with_values((0x00280011, b"US", number(0)))
    yield "bits_bsstored_gt_ba", with_values((0x00280101, b"US", number(20)))
    yield "bits_highbit_eq_ba", with_values((0x00280102, b"US", number(16)))
    yield "bits_highbit_gt_ba", with_values((0x00280102, b"US", number(40)))
    for bits in (0, 1, 3, 9, 24, 48, 128):
        yield f"bits_ba_{bits}", with_values((0x00280100, b"US", number(bits)))
    yield "bits_bs_zero", with_values((0x00280101, b"US", number(0)))
    for name, fragments in (
        ("empty_bot", item(b"") + item(b"\1" * 50)),
        ("zero_frag", item(b"") + item(b"") * 2),
        ("10k_frags", item(b"") + item(b"\1\2\3\4") * 10000),
    ):
        encoded = element(0x7FE00010, b"OB", fragments + delimiter(SEQUENCE_END), UNDEFINED)
        meta = META | {0x00020010: (0x00020010, b"UI", uid(RLE))}
        yield f"encap_{name}", Parts(meta=meta, raw={0x7FE00010: encoded})
    yield "mono2_spp3", with_values((0x00280002, b"US", number(3)))
    for photometric in ("RGB", "INVALID", "", "A" * 256):
        code = (0x00280004, b"CS", text(photometric))
        yield f"pi_{photometric[:8] or 'empty'}", with_values(code)
    for frames in ("0", "1000000"):
        yield f"mf_nf_{frames}", with_values((0x00280008, b"IS", text(frames)))


def as_implicit(data: bytes) -> bytes:
    """Rewrite the explicit elements of the valid file as implicit ones."""
    return b"".join(
        tag_bytes(tag) + struct.pack("<I", len(value)) + value for tag, _, value in DATA.values()
    )


def deflated(data: bytes, keep: int | None = None) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data) + packer.flush()
    return packed[:keep]


def syntaxes() -> Cases:
    """Data sets in another transfer syntax than the declared one, or cut within it."""
    meta = META | {0x00020010: (0x00020010, b"UI", uid(DEFLATED))}
    yield "declares_explicit_data_implicit", Parts(body=as_implicit)
    yield "deflate_corrupt", Parts(meta=meta, body=lambda data: b"\x55\xaa" + deflated(data)[2:])
    yield "deflate_truncated", Parts(meta=meta, body=lambda data: deflated(data, 60))


def private_tags() -> Cases:
    """Private, command and stray elements, and values that a shell or database would run."""
    creator = element(0x00290010, b"LO", b"MADE")
    value = element(0x00291001, b"LO", b"value ")
    yield "private_valid", raw(0x00290010, creator + value)
    yield "private_no_creator", raw(0x00291001, value)
    yield "cmd_group_in_dataset", raw(0x00000100, element(0x00000100, b"US", number(1)))
    yield "group_ffff", raw(0xFFFFFFFF, element(0xFFFFFFFF, b"LO", b"odd "))
    yield "stray_item_tag", Parts(before_pixels=item(b""))
    yield "stray_item_delim", Parts(before_pixels=delimiter(ITEM_END))
    yield "stray_seq_delim", Parts(before_pixels=delimiter(SEQUENCE_END))
    yield "tag_order_violation", Parts(before_pixels=element(0x00080070, b"LO", b"LATE"))
    yield "private_bulk", raw(0x00291002, element(0x00291002, b"OB", b"\xaa" * 700))
    injections = ("$(id)", "`id`", "; ls -la", "' OR '1'='1", "%s%s%n")
    for place, injection in enumerate(injections):
        yield f"inject_{place}", with_values((0x00100010, b"PN", text(injection)))


def file_meta() -> Cases:
    """Files without, with half or with a false preamble and file meta information."""
    magic = b"DICM"
    yield "no_preamble", Parts(preamble=b"")
    yield "preamble_ff", Parts(preamble=b"\xff" * 128 + magic)
    yield "preamble_127", Parts(preamble=b"\0" * 127 + magic)
    yield "no_dicm", Parts(preamble=b"\0" * 132)
    for offset in (0, 64, 256):
        yield f"dicm_offset{offset}", Parts(preamble=b"\0" * offset + magic + b"\0" * 380)
    for name, length in (("zero", 0), ("one", 1), ("max", 0xFFFFFFFF), ("huge", 1 << 30)):
        yield f"meta_glen_{name}", Parts(meta_length=length)
    yield "sop_class_mismatch", with_meta((0x00020002, b"UI", uid("1.2.840.10008.5.1.4.1.1.4")))
    yield "invalid_ts", with_meta((0x00020010, b"UI", uid("1.2.3.4")))
    yield "meta_tag_in_dataset", raw(0x00080012, element(0x00020010, b"UI", uid(EXPLICIT)))


def strings() -> Cases:
    """Texts that are not in the character set of the file, and control characters."""
    values = (
        b"M\xc3\xbcller^J\xc3\xbcrgen",
        b"\xff\xfeM\0A\0D\0E\0",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\x80\x81\x82\x83",
        b"\xc0\xaf\xc0\xaf\xe0\x80\xaf ",
        b"AB\0CD ",
        b"\0MADE ",
        b"MA\0DE ",
        b"MADE\0\0",
        b"\0\0\0\0",
        bytes(range(1, 32)) + b" ",
        b"%n%n%n%n",
        b"%08x." * 8,
        b"{{7*7}}${7*7}",
        b"A\\" * 1000,
        "\u202eEDAM\u202c^\u05d0".encode() + b" ",
    )
    for place, value in enumerate(values):
        yield f"text_{place:02d}", with_values((0x00100010, b"PN", value + b" " * (len(value) % 2)))


def contradictions() -> Cases:
    """Headers whose statements contradict each other or break the rules for UIDs."""
    for modality in ("MR", "US", "NM", "XX"):
        yield f"sop_modality_{modality}", with_values((0x00080060, b"CS", text(modality)))
    yield "duplicate_tags", Parts(before_pixels=element(0x00100010, b"PN", text("OTHER^NAME")))
    for name, tag, vr, value in (
        ("pn", 0x00100010, b"PN", b"ABC"),
        ("lo", 0x00080070, b"LO", b"ABCDE"),
        ("sh", 0x00080050, b"SH", b"ABC"),
        ("cs", 0x00080060, b"CS", b"C"),
    ):
        yield f"odd_length_{name}", with_values((tag, vr, value))
    for name, false_uid in (
        ("64chars_exact", "1." + "2" * 62),
        ("65chars_over", "1." + "2" * 63),
        ("trailing_dot", "1.2.3."),
        ("leading_dot", ".1.2.3"),
        ("double_dot", "1..2"),
        ("all_dots", "." * 64),
        ("empty", ""),
    ):
        yield f"uid_{name}", with_values((0x00080018, b"UI", uid(false_uid)))
    yield "group_len_zero", raw(0x00080000, element(0x00080000, b"UL", bytes(4)))
    same = uid("1.2.3.4.5")
    yield (
        "uid_collision",
        with_values(*((tag, b"UI", same) for tag in (0x00080018, 0x0020000D, 0x0020000E))),
    )
    reference = element(0x00081150, b"UI", uid(CT)) + element(0x00081155, b"UI", uid("1.2.3.404"))
    yield "nonexistent_ref", raw(SEQUENCE, element(SEQUENCE, b"SQ", item(reference)))


ODD_VRS = (
    *(b"ZZ", b"XX", b"AA", b"BB", b"QQ", b"\0\0", b"\xff\xff"),
    *(b"99", b"sq", b"ob", b"ui", b"sh", b" U", b"U "),
)
"""Codes that are no VR, for one because they are in small letters."""


def in_vr(one: Element, vr: bytes) -> bytes:
    return tag_bytes(one[0]) + vr + struct.pack("<H", len(one[2])) + one[2]


def meta_vrs() -> Cases:
    """File meta information in VRs that do not exist, which some parsers read without end."""
    for tag, vr in product((*META, None), ODD_VRS):
        changed = {one[0]: in_vr(one, vr) for one in META.values() if tag in (None, one[0])}
        yield f"meta_{tag or 0xFFFF:08x}_vr_{vr.hex()}", Parts(raw=changed)
    syntax = META[0x00020010]
    for vr, length in product(ODD_VRS[:1] + ODD_VRS[5:7], (0x10000, 1 << 20, 1 << 30)):
        long_form = tag_bytes(syntax[0]) + vr + struct.pack("<HI", 0, length) + syntax[2]
        yield f"meta_ts_vr_{vr.hex()}_len_{length}", Parts(raw={syntax[0]: long_form})
    for count in (10, 100, 1000):
        fake = in_vr((0x00020100, b"", b"\0" * 256), b"ZZ") * count
        repeated = in_vr(META[0x00020013], b"SH") + fake
        yield f"meta_repeat_{count}_fake_elems", Parts(raw={0x00020013: repeated})
    for name, first in (("even", 0), ("odd", 1)):
        changed = {one[0]: in_vr(one, b"ZZ") for one in list(META.values())[first::2]}
        yield f"meta_mixed_{name}_vr_ZZ", Parts(raw=changed)
    version = META[0x00020001]
    for vr in ODD_VRS[:2] + ODD_VRS[5:8]:
        body = tag_bytes(version[0]) + vr + struct.pack("<HI", 0, 2) + version[2]
        yield f"meta_version_vr_{vr.hex()}", Parts(raw={version[0]: body})


CATEGORIES: dict[str, Callable[[], Cases]] = {
    "baseline": lambda: iter([("valid_ct", Parts())]),
    "cat01_tag_overflow": overflows,
    "cat02_vr_mismatch": wrong_vrs,
    "cat03_sequence_nesting": sequences,
    "cat04_pixel_data": pixels,
    "cat05_transfer_syntax": syntaxes,
    "cat06_private_tags": private_tags,
    "cat07_file_meta": file_meta,
    "cat08_string_encoding": strings,
    "cat09_logic_bombs": contradictions,
    "cat10_file_meta_vr": meta_vrs,
}


def write_malformed_files(folder: Path) -> None:
    """Write a file for each case, in a folder for each category; every file has its own UIDs."""
    count = 0
    for category, cases in CATEGORIES.items():
        (folder / category).mkdir(parents=True)
        for name, parts in cases():
            count += 1
            path = folder / category / f"MC{count:04d}_{name}.dcm"
            path.write_bytes(_numbered(parts, count).encode())


def _numbered(parts: Parts, count: int) -> Parts:
    own = {0x00080018: (0x00080018, b"UI", uid(f"{UID}.{count}"))}
    kept = parts.data.get(0x00080018) == DATA[0x00080018]
    return replace(parts, data=parts.data | own) if kept else parts
