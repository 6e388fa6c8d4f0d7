import struct

import pytest
from pydicom.uid import CTImageStorage

from dicom_io.receive.message_checks import CommandError, checked_command_set
from tests.servers.dicom.raw_peer import command, echo_elements, element, store_elements

pytestmark = pytest.mark.network

STORE = store_elements("1.2.3")


def without(number: int) -> bytes:
    return command(element for element in STORE if element[0] != number)


def with_value(number: int, value: bytes) -> bytes:
    return command((tag, value if tag == number else old) for tag, old in STORE)


@pytest.mark.parametrize("elements", [STORE, echo_elements()])
def test_a_valid_command_set_is_unchanged(elements: list[tuple[int, bytes]]) -> None:
    assert checked_command_set(command(elements)) == command(elements)


def test_elements_are_sorted_and_unknown_elements_dropped() -> None:
    shuffled = command([*reversed(STORE), (0x4000, b"xx"), (0x0902, b"a comment ")])
    assert checked_command_set(shuffled) == command(STORE)


def test_a_missing_or_wrong_group_length_is_replaced() -> None:
    body = command(STORE)[12:]
    assert checked_command_set(body) == command(STORE)
    assert checked_command_set(element(0, b"\xff\xff\xff\x7f") + body) == command(STORE)


def test_an_invalid_instance_uid_is_passed_on() -> None:
    odd = with_value(0x1000, b"1.02.abc")
    assert checked_command_set(odd) == odd


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
        with_value(0x0100, b"\x20\0"),
        with_value(0x0110, b""),
        with_value(0x0700, b"\3\0"),
        with_value(0x0110, b"\1\0\0\0"),
        command([*echo_elements()[:-1], (0x0800, b"\0\0")]),
        command([(0x0100, b"\xff\x0f"), (0x0120, b"\7\0"), (0x0800, b"\0\0")]),
        with_value(0x1000, b"1." * 33),
        with_value(0x1000, b"1.2\\1.3 "),
        with_value(0x1000, b"1.2.\xc3\xa9 "),
        command(STORE) + struct.pack("<HHI", 0x0008, 0x0016, 0),
        command(STORE) + struct.pack("<HHI", 0, 0x1030, 0xFFFFFFFF),
    ],
)
def test_a_malformed_command_set_is_refused(damaged: bytes) -> None:
    with pytest.raises(CommandError):
        checked_command_set(damaged)


def test_a_command_of_any_sop_class_passes() -> None:
    of_ct = command(store_elements("1.2.3", CTImageStorage))
    assert checked_command_set(of_ct) == of_ct
