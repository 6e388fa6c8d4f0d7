import contextlib

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.partners.hl7_messages import CODECS, SentCharset
from daemon.errors import Hl7Error
from daemon.hl7 import charsets
from daemon.hl7.grammar import (
    DEFAULT,
    Delimiters,
    Message,
    components,
    escaped,
    message,
    segment,
    subcomponents,
    unescaped,
)

PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029"))
ANY = st.text(st.characters(codec="utf-8"))
MSH = segment("MSH", {3: "A", 9: "ADT^A08", 10: "1", 11: "P", 12: "2.5.1"})


def parsed(field: str) -> Message:
    return Message.parsed(message([MSH, segment("PID", {5: field})]))


@given(PLAIN)
def test_a_text_survives(text: str) -> None:
    assert unescaped(escaped(text), DEFAULT) == text


@given(ANY)
def test_an_escaped_text_has_no_delimiter_and_no_control_character(text: str) -> None:
    kept = escaped(text)
    assert not set(kept) & set("|^~&\r\n\x0b\x1c\x00")
    assert (
        unescaped(kept, DEFAULT).count("\n")
        == len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")) - 1
    )


@given(st.lists(PLAIN.map("<{}>".format), min_size=1, max_size=6))
def test_components_are_read_back_by_this_software_and_by_python_hl7(texts: list[str]) -> None:
    read = parsed(components(*texts)).first("PID")
    assert read is not None
    numbers = range(1, len(texts) + 1)
    assert [read.value(5, number) for number in numbers] == texts
    other = hl7.parse(message([MSH, segment("PID", {5: components(*texts)})]))
    assert [other.extract_field("PID", 1, 5, 1, number) for number in numbers] == texts


@given(st.lists(PLAIN, min_size=2, max_size=4))
def test_subcomponents_are_read_back(texts: list[str]) -> None:
    read = parsed(subcomponents(*texts)).first("PID")
    assert read is not None
    assert [read.value(5, 1, number) for number in range(1, len(texts) + 1)] == texts


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    for start in (b"", b"MSH|^~\\&|", b"MSH" + data[:5]):
        with contextlib.suppress(Hl7Error):
            assert Message.parsed(charsets.decoded(start + data)).header.name == "MSH"


def test_delimiters_of_the_sender_are_used() -> None:
    read = Message.parsed("MSH!@#$%!A!B!!!!!ADT@A08!7\rPID!!!1@@@X%2!!Doe@Jane $T$ Co#Roe\r")
    assert read.header.value(9, 2) == "A08"
    person = read.first("PID")
    assert person is not None
    assert (person.value(3, 4, 2), person.value(5, 2)) == ("2", "Jane % Co")
    assert [one.value(1) for one in person.repetitions(5)] == ["Doe", "Roe"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PID|1",
        "MSH",
        "MSH|^^\\&|A",
        "MSH|||A|B|C",
        "MSHA^~\\&AxA",
        "MSH ^~\\& A B",
    ],
)
def test_a_text_without_a_usable_header_is_refused(text: str) -> None:
    with pytest.raises(Hl7Error, match="MSH"):
        Message.parsed(text)


def test_a_segment_without_a_name_is_refused_by_its_position() -> None:
    with pytest.raises(Hl7Error, match="segment 2 of the message has no name"):
        Message.parsed("MSH|^~\\&|A\rpid|1\r")


def test_very_many_segments_are_refused() -> None:
    with pytest.raises(Hl7Error, match="more than 2000 segments"):
        Message.parsed("MSH|^~\\&|A\r" + "NTE|1\r" * 2000)


def test_few_delimiters_are_completed() -> None:
    assert Delimiters.of("MSH|^~|A|B") == DEFAULT


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("line\\.br\\line", "line\nline"),
        ("M\\XFC\\ller", "Müller"),
        ("\\H\\bold\\N\\ \\Zlocal\\.", "bold ."),
        ("C:\\temp", "C:\\temp"),
        ("\\", "\\"),
    ],
)
def test_escapes_are_read(text: str, read: str) -> None:
    assert unescaped(text, DEFAULT) == read


@pytest.mark.parametrize("name", [name for name in CODECS if name])
def test_each_character_set_is_read_by_its_name(name: str) -> None:
    names = {
        "ISO IR87": "山田",
        "ISO IR159": "山田",
        "ISO IR14": "山田",
        "KS X 1001": "김",
        "BIG-5": "王",
    }
    written = names.get(
        name, {"8859/1": "ü", "8859/5": "Я", "8859/7": "Ω", "UNICODE UTF-8": "山ü"}.get(name, "a")
    )
    text = f"MSH|^~\\&|A|||||||||||||||{name}\rPID|||||{written}\r"
    found = Message.parsed(charsets.decoded(text.encode(CODECS[name]))).first("PID")
    assert found is not None
    assert found.value(5) == written


def test_the_last_of_several_character_sets_counts() -> None:
    text = "MSH|^~\\&|A|||||||||||||||ASCII~ISO IR87\rPID|||||山田\r"
    assert charsets.decoded(text.encode("iso2022_jp")) == text


def test_bytes_that_are_not_of_the_character_set_are_refused() -> None:
    header = "MSH|^~\\&|A|||||||||||||||{}\rPID|||||Müller\r"
    with pytest.raises(Hl7Error, match="not of ASCII, and MSH-18 names no character set"):
        charsets.decoded(header.format("").encode("latin-1"))
    with pytest.raises(Hl7Error, match="not of UNICODE UTF-8"):
        charsets.decoded(header.format("UNICODE UTF-8").encode("latin-1"))
    with pytest.raises(Hl7Error, match="a character set that is not read here"):
        charsets.decoded(header.format("EBCDIC").encode("latin-1"))
    assert "Müller" in charsets.decoded(header.format("").encode("latin-1"), "8859/1")


def test_a_character_that_a_set_lacks_is_named_by_its_field() -> None:
    text = message([MSH, segment("PID", {5: "Müller"})])
    with pytest.raises(Hl7Error, match="PID-5 has a character that ASCII lacks"):
        charsets.encoded(text, SentCharset.ASCII)
    assert charsets.encoded(text, SentCharset.LATIN_1) == text.encode("latin-1")
    with pytest.raises(Hl7Error, match="MSH-4 has a character"):
        charsets.encoded(message([segment("MSH", {4: "ü"})]), SentCharset.ASCII)
