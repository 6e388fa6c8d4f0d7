from dataclasses import replace
from typing import Any

import hl7
import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from daemon.config.partners.hl7_messages import (
    Acknowledgement,
    ProcessingId,
    ResultStatus,
    SentCharset,
)
from daemon.errors import Hl7Error
from daemon.hl7.grammar import message, segment
from daemon.hl7.oru import MessageSettings, Outgoing, result_message
from daemon.hl7.values import date_time, patient_name
from dicom_io.errors import ObjectError
from dicom_io.objects.encode import to_bytes
from dicom_io.report.content import ObjectReference
from dicom_io.report.document import build_report
from dicom_io.report.reading.reader import read_report
from tests.builders.objects import LATERAL, NOW, STUDY, full_header, report_content
from tests.daemon.hl7.strict import strictly_parsed
from tests.tools.paths import ROOT

SETTINGS = MessageSettings(
    destination="ris",
    receiving_application="RIS",
    receiving_facility="HOSP^1.2.3^ISO",
    sending_application="CXRD",
    sending_facility="",
    processing_id=ProcessingId.PRODUCTION,
    result_status=ResultStatus.PRELIMINARY,
    acknowledgement=Acknowledgement.ORIGINAL,
    charset=SentCharset.UTF_8,
)
EARLIER = ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", f"{STUDY}.9.1", f"{STUDY}.9", STUDY)


def report(*headers: Dataset, **changes: object) -> bytes:
    return to_bytes(build_report(report_content(*(headers or (full_header(),)), **changes)))


def order(**numbers: str) -> Dataset:
    item = Dataset()
    for keyword, value in numbers.items():
        setattr(item, keyword, value)
    return item


def ordered(*orders: Dataset) -> Dataset:
    header = full_header()
    header.RequestAttributesSequence = list(orders)
    return header


def made(data: bytes, **changes: object) -> Outgoing:
    return result_message(data, replace(SETTINGS, **changes))  # type: ignore[arg-type]


def lines(message: Outgoing, name: str, charset: str = "utf-8") -> list[list[str]]:
    """Return the segments of a name as fields; the number of a field is its index."""
    segments = message.data.decode(charset).split("\r")
    return [one.split("|") for one in segments if one.startswith(f"{name}|")]


def observations(message: Outgoing, name: str) -> list[list[str]]:
    return [one for one in lines(message, "OBX") if name in one[3]]


def test_two_libraries_read_the_message_of_a_report() -> None:
    data = report(
        full_header(1),
        full_header(2),
        not_analysed=[LATERAL],
        statements=["One film was rejected."],
    )
    message = made(data)
    strict = strictly_parsed(message.data)
    group = strict.oru_r01_patient_result
    assert [one.name for one in strict.children] == ["MSH", "ORU_R01_PATIENT_RESULT"]
    assert group.oru_r01_patient.pid.pid_3.value == "P-17"
    assert group.oru_r01_patient.oru_r01_visit.pv1.pv1_2.value == "U"
    observed = group.oru_r01_order_observation.oru_r01_observation
    read: Any = hl7.parse(message.data, encoding="utf-8")
    assert len(read.segments("OBX")) == len(observed)
    assert [str(one[1]) for one in read.segments("OBX")] == [
        str(number) for number in range(1, len(observed) + 1)
    ]
    assert read.extract_field("MSH", 1, 9, 1, 3) == "ORU_R01"
    assert read.extract_field("PID", 1, 5, 1, 1, 1) == "Müller"
    assert {str(one[11]) for one in read.segments("OBX")} == {"P", "O"}


def test_the_message_says_what_the_report_says() -> None:
    data = report(full_header(1), full_header(2))
    message, read = made(data), read_report(data)
    for position, finding in enumerate(read.images[1].findings, 1):
        group = [one for one in lines(message, "OBX") if one[4] == f"2.{position}"]
        coded, probability, threshold, site, tracking = group
        assert coded[2:6] == [
            "CWE",
            f"{finding.code.value}^{finding.code.meaning}^{finding.code.scheme}",
            f"2.{position}",
            f"{finding.result.value}^{finding.result.meaning}^{finding.result.scheme}",
        ]
        assert float(probability[5]) == finding.probability
        assert float(threshold[5]) == finding.threshold
        assert site[5].startswith(f"{finding.site.value}^")
        assert tracking[5] == finding.tracking_uid
        assert read.algorithm.device_uid in coded[18]
    assert [one[5] for one in observations(message, "^SR Instance UID")] == [
        read.document.sop_instance_uid
    ]
    assert [one[5] for one in observations(message, "^SOP Instance UID")] == [
        image.reference.sop_instance_uid for image in read.images
    ]
    assert observations(message, "113014")[0][5] == STUDY
    said = [one[5] for one in lines(message, "OBX") if one[2] == "TX"]
    assert said[:2] == [read.research_notice, read.summary]
    assert "RESEARCH USE ONLY" in said[0]
    assert said[2:] == [
        *read.images[0].sentences,
        *read.images[1].sentences,
        *read.explanations,
    ]


def test_the_same_report_makes_the_same_bytes_and_another_content_another_control_id() -> None:
    first = made(report())
    assert made(report()) == first
    assert len(first.control_id) == 20
    assert lines(first, "MSH")[0][9] == first.control_id
    assert lines(first, "MSH")[0][6] == "20240506090809+0200"
    others = (
        made(report(), destination="his"),
        made(report(), result_status=ResultStatus.FINAL),
        made(report(statements=["One film was rejected."])),
    )
    assert len({first.control_id, *(one.control_id for one in others)}) == 4


def test_patient_and_order_are_those_of_the_report() -> None:
    header = ordered(
        order(
            PlacerOrderNumberImagingServiceRequest="P^1&2",
            FillerOrderNumberImagingServiceRequest="F-9",
            RequestedProcedureDescription="Thorax",
        )
    )
    header.IssuerOfPatientID = "HOSP"
    message = made(report(header))
    (person,) = lines(message, "PID")
    assert person[1:] == ["1", "", "P-17^^^HOSP", "", "Müller^Jürgen", "", "19500102", "M"]
    assert lines(message, "PV1")[0][8] == "^House^Gregory"
    assert lines(message, "ORC")[0][1:] == ["RE", "P\\S\\1\\T\\2", "F-9"]
    (request,) = lines(message, "OBR")
    assert request[2:5] == ["P\\S\\1\\T\\2", "F-9", "RPID2503^XR CHEST 2 VIEWS^RADLEX"]
    assert (request[7], request[18], request[24]) == ("20240505101112+0200", "A-4711", "RAD")
    assert (request[22], request[44]) == ("20240506090809+0200", request[4])


def test_each_order_gets_the_result() -> None:
    numbers = [
        order(FillerOrderNumberImagingServiceRequest=number) for number in ("F1", "F2", "F1")
    ]
    message = made(report(ordered(*numbers)))
    assert [(one[1], one[3]) for one in lines(message, "OBR")] == [("1", "F1"), ("2", "F2")]
    assert len(observations(message, "^SR Instance UID")) == 2
    strictly_parsed(message.data)


def test_without_an_order_the_accession_number_or_the_study_is_the_filler_number() -> None:
    header = full_header()
    del header.RequestAttributesSequence
    assert lines(made(report(header)), "OBR")[0][2:4] == ["", "A-4711"]
    del header.AccessionNumber
    message = made(report(header))
    assert lines(message, "OBR")[0][2:4] == ["", STUDY]
    assert lines(message, "OBR")[0][18] == ""
    strictly_parsed(message.data)


@pytest.mark.parametrize(
    ("status", "replaces", "order_status", "result_status"),
    [
        (ResultStatus.PRELIMINARY, False, "P", "P"),
        (ResultStatus.NOT_VERIFIED, False, "R", "R"),
        (ResultStatus.FINAL, False, "F", "F"),
        (ResultStatus.PRELIMINARY, True, "C", "P"),
        (ResultStatus.FINAL, True, "C", "C"),
    ],
)
def test_the_status_tells_a_replaced_report(
    status: ResultStatus, replaces: bool, order_status: str, result_status: str
) -> None:
    data = report(predecessor=EARLIER if replaces else None)
    message = made(data, result_status=status)
    assert lines(message, "OBR")[0][25] == order_status
    assert {one[11] for one in lines(message, "OBX")} == {result_status, "O"}
    named = [one[5] for one in observations(message, "^Predecessor SR Instance UID")]
    assert named == ([EARLIER.sop_instance_uid] if replaces else [])
    strictly_parsed(message.data)


def test_the_header_names_both_sides_the_mode_and_the_use() -> None:
    (header,) = lines(made(report()), "MSH")
    assert header[2:6] == ["CXRD", "", "RIS", "HOSP^1.2.3^ISO"]
    assert header[8:12] == ["ORU^R01^ORU_R01", header[9], "P", "2.5.1"]
    assert header[17] == "UNICODE UTF-8"
    enhanced = made(
        report(),
        acknowledgement=Acknowledgement.ENHANCED,
        processing_id=ProcessingId.TRAINING,
    )
    (header,) = lines(enhanced, "MSH")
    assert (header[10], header[14], header[15]) == ("T", "AL", "NE")
    strictly_parsed(enhanced.data)


def test_a_name_with_ideographs_has_a_repetition_for_each_group() -> None:
    header = full_header()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    message = made(report(header))
    assert lines(message, "PID")[0][5] == (
        "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I~やまだ^たろう^^^^^^P"
    )
    strictly_parsed(message.data)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Doe^Jane^Mary^Dr^III", "Doe^Jane^Mary^III^Dr"),
        ("O'Neil|~&^A", "O'Neil\\F\\\\R\\\\T\\^A"),
        ("", "^^^^^^U"),
        ("^^^^", "^^^^^^U"),
        ("=山田", "山田^^^^^^^I"),
    ],
)
def test_names(name: str, field: str) -> None:
    assert patient_name(name) == field


@pytest.mark.parametrize(
    ("day", "time", "field"),
    [
        ("20240505", "101112.5", "20240505101112+0000"),
        ("20240505", "10", "2024050510+0000"),
        ("20240505", "25", "20240505"),
        ("20240505", "", "20240505"),
        ("2024.05.05", "10", ""),
        ("", "10", ""),
    ],
)
def test_malformed_dates_and_times_are_left_out(day: str, time: str, field: str) -> None:
    assert date_time(day, time, NOW) == field


def test_ascii_takes_ascii_alone() -> None:
    with pytest.raises(Hl7Error, match="PID-5 has a character that ASCII lacks"):
        made(report(), charset=SentCharset.ASCII)
    header = full_header()
    header.PatientName = "Mueller^Juergen"
    message = made(report(header), charset=SentCharset.ASCII)
    assert lines(message, "MSH")[0][17] == "ASCII"
    assert message.data.isascii()


def test_latin_1_is_written_and_declared() -> None:
    message = made(report(), charset=SentCharset.LATIN_1)
    assert b"|8859/1\r" in message.data
    assert lines(message, "PID", "latin-1")[0][5] == "Müller^Jürgen"
    read = parse_message(message.data.decode("latin-1"), find_groups=False)
    assert read.pid.pid_5.value == "Müller^Jürgen"


def test_a_report_without_patient_id_is_refused() -> None:
    header = full_header()
    header.PatientID = ""
    with pytest.raises(Hl7Error, match="no Patient ID"):
        made(report(header))


def test_an_object_that_is_no_report_is_refused() -> None:
    with pytest.raises(ObjectError):
        made(b"no DICOM object")


PARTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="\\=^"),
    min_size=1,
    max_size=30,
)


@given(st.lists(PARTS, min_size=5, max_size=5))
def test_any_name_is_read_back_by_python_hl7(parts: list[str]) -> None:
    field = patient_name("^".join(parts))
    text = message([segment("MSH", {3: "A"}), segment("PID", {5: field})])
    read = hl7.parse(text)
    family, given_name, middle, prefix, suffix = parts
    found = [read.extract_field("PID", 1, 5, 1, number) for number in range(1, 6)]
    assert found == [family, given_name, middle, suffix, prefix]


def test_the_message_of_the_page_is_one_of_this_software() -> None:
    header = ordered(
        order(
            PlacerOrderNumberImagingServiceRequest="P-8001",
            FillerOrderNumberImagingServiceRequest="F-9002",
        )
    )
    header.IssuerOfPatientID = "HOSP"
    page = (ROOT / "docs" / "hl7.md").read_text(encoding="utf-8")
    shown = page.partition("two are shown:\n\n```\n")[2].partition("```")[0].splitlines()
    sent = made(report(header)).data.decode().split("\r")
    assert [line for line in shown if line not in sent] == []
    assert len(shown) > 25
