import struct

import pytest
from pydicom.uid import CTImageStorage

from dicom_io.receive.message_checks import CommandError, CommandSet, checked_command_set
from tests.servers.dicom.raw_peer import command, echo_elements, element, store_elements

pytestmark = pytest.mark.network

STORE = store_elements("1.2.3")


def without(number: int) -> bytes:
    return command(element for element in STORE if element[0] != number)


def with_value(number: int, value: bytes) -> bytes:
    return command((tag, value if tag == number else old) for tag, old in STORE)


@pytest.mark.parametrize("elements", [STORE, echo_elements()])
def test_a_valid_command_set_is_unchanged(elements: list[tuple[int, bytes]]) -> None:
    assert checked_command_set(command(elements)) == CommandSet(command(elements))


def test_elements_are_sorted_and_unknown_elements_dropped() -> None:
    shuffled = command([*reversed(STORE), (0x4000, b"xx"), (0x0902, b"a comment ")])
    assert checked_command_set(shuffled).data == command(STORE)


def test_a_missing_or_wrong_group_length_is_replaced() -> None:
    body = command(STORE)[12:]
    assert checked_command_set(body).data == command(STORE)
    assert checked_command_set(element(0, b"\xff\xff\xff\x7f") + body).data == command(STORE)


@pytest.mark.parametrize(
    ("number", "value", "fault"),
    [
        (0x1000, b"1.2.abc ", "SOP Instance UID (0000,1000) has other than digits and dots"),
        (0x1000, b"1.2\\1.3 ", "SOP Instance UID (0000,1000) has other than digits and dots"),
        (0x1000, b"1.2.\xc3\xa9 ", "SOP Instance UID (0000,1000) has other than digits and dots"),
        (0x1000, b" 1.2.3", "SOP Instance UID (0000,1000) has other than digits and dots"),
        (0x1000, b"1." * 35, "SOP Instance UID (0000,1000) has 70 characters"),
        (0x1000, b"", "SOP Instance UID (0000,1000) is empty"),
        (0x1000, b"\0 \0\0", "SOP Instance UID (0000,1000) is empty"),
        (0x0002, b"CR", "SOP Class UID (0000,0002) has other than digits and dots"),
        (0x0002, b"", "SOP Class UID (0000,0002) is empty"),
    ],
)
def test_a_malformed_uid_of_a_store_is_named_and_the_rest_kept(
    number: int, value: bytes, fault: str
) -> None:
    checked = checked_command_set(with_value(number, value))
    assert checked.store_fault == fault
    assert len(fault) <= 64
    assert checked.data == with_value(number, b"0.0 ")


@pytest.mark.parametrize("number", [0x0002, 0x1000])
def test_a_missing_uid_of_a_store_is_named(number: int) -> None:
    assert checked_command_set(without(number)).store_fault.endswith("is empty")


@pytest.mark.parametrize("value", [b"1.2.3\0", b"1.2.3 ", b"1.2.003\0", b"0.0 "])
def test_padding_and_leading_zeros_of_a_uid_are_no_fault(value: bytes) -> None:
    checked = checked_command_set(with_value(0x1000, value))
    assert checked == CommandSet(with_value(0x1000, value))


@pytest.mark.parametrize("value", [b"\3\0", b"", b"\1\0\0\0"])
def test_the_priority_of_a_store_means_nothing(value: bytes) -> None:
    assert checked_command_set(with_value(0x0700, value)).data == command(STORE)


@pytest.mark.parametrize("value", [b"", b"\xff" * 20, b"A\\B "])
def test_the_originator_of_a_move_means_nothing(value: bytes) -> None:
    sent = command([*STORE, (0x1030, value), (0x1031, value)])
    assert checked_command_set(sent) == CommandSet(command(STORE))


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 64,
        command(STORE)[:-1],
        command([*STORE, STORE[0]]),
        without(0x0100),
        without(0x0800),
        with_value(0x0100, b"\x21\0"),
        with_value(0x0110, b""),
        with_value(0x0110, b"\1\0\0\0"),
        command([*echo_elements()[:-1], (0x0800, b"\0\0")]),
        command([(0x0100, b"\xff\x0f"), (0x0120, b"\7\0"), (0x0800, b"\0\0")]),
        command([(0x0002, b"1." * 33), *echo_elements()[1:]]),
        command([(0x0002, b"1.2\\1.3 "), *echo_elements()[1:]]),
        command([(0x0002, b"1.2.\xc3\xa9 "), *echo_elements()[1:]]),
        command([*STORE, (0x1005, b"\x10\0")]),
        command([*STORE, (0x1005, b"\x10\0\x20\0" * 1025)]),
        command(STORE) + struct.pack("<HHI", 0x0008, 0x0016, 0),
        command(STORE) + struct.pack("<HHI", 0, 0x1030, 0xFFFFFFFF),
    ],
)
def test_a_malformed_command_set_is_refused(damaged: bytes) -> None:
    with pytest.raises(CommandError, match=r"^\(0000|^\([0-9A-F]{4},|^the header"):
        checked_command_set(damaged)


def test_a_command_of_any_sop_class_passes() -> None:
    of_ct = command(store_elements("1.2.3", CTImageStorage))
    assert checked_command_set(of_ct) == CommandSet(of_ct)
