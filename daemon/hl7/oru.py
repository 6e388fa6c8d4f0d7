"""Results as unsolicited observations: ORU^R01^ORU_R01 (HL7 v2.5.1, 7.3.1).

A message is made from the bytes of a Structured Report and says what the report says. References
to DICOM objects follow IHE RAD-28 (HD values named `SR Instance UID` and so on) and RAD-128
(the study as 113014). The same report and the same settings make the same bytes.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from daemon.config.partners.hl7_messages import (
    Acknowledgement,
    ProcessingId,
    ResultStatus,
    SentCharset,
)
from daemon.errors import Hl7Error
from daemon.hl7 import charsets
from daemon.hl7.grammar import components, escaped, message, segment
from daemon.hl7.values import date, date_time, moment, patient_name, provider_name, sex
from dicom_io.report.content import ObjectReference
from dicom_io.report.reading.read_values import (
    CodedValue,
    ReadAlgorithm,
    ReadFinding,
    ReadImage,
    ReadOrder,
    ReadReport,
)
from dicom_io.report.reading.reader import read_report

VERSION = "2.5.1"
_COMMENT = components("121106", "Comment", "DCM")
_SUMMARY = components("121111", "Summary", "DCM")
_PROBABILITY = components("122157", "Probability", "DCM")
_THRESHOLD = components("122411", "Threshold Value", "DCM")
_SITE = components("363698007", "Finding Site", "SCT")
_TRACKING_UID = components("112040", "Tracking Unique Identifier", "DCM")
_EXPLANATION = components("130401", "Visual explanation", "DCM")
_STUDY = components("113014", "DICOM Study", "DCM")
_NO_UNITS = components("1", "no units", "UCUM")
_UNKNOWN_CLASS = "U"
"""Patient class unknown (HL7 table 0004): a report names no visit."""
_ORDER_DETAIL = "O"
"""Result status of an OBX that describes the order and is no result (HL7 table 0085)."""
_CORRECTED = "C"
_LONGEST_CONTROL_ID = 20


@dataclass(frozen=True, slots=True)
class MessageSettings:
    """Settings of the messages to one destination.

    An application or facility is a name or an HD with its components, `RIS^1.2.3^ISO`.
    """

    destination: str
    receiving_application: str
    receiving_facility: str
    sending_application: str
    sending_facility: str
    processing_id: ProcessingId
    result_status: ResultStatus
    acknowledgement: Acknowledgement
    charset: SentCharset


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent, and its control ID (MSH-10)."""

    control_id: str
    data: bytes


def result_message(report: bytes, settings: MessageSettings) -> Outgoing:
    """Return the ORU message of a Structured Report.

    The control ID is derived from the destination, the report and the content of the message, so
    that a repeat has the same one and another content never has it. Raises ObjectError if the
    bytes are no report, and Hl7Error if the report has no Patient ID or a character that the
    character set lacks.
    """
    read = read_report(report)
    if not read.patient.patient_id:
        raise Hl7Error("the report has no Patient ID, and an HL7 result must name one (PID-3)")
    body = list(_body(read, settings))
    unnumbered = message([_header(read, settings, ""), *body])
    name = f"{settings.destination}\0{read.document.sop_instance_uid}\0{unnumbered}"
    digest = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()
    control_id = digest[:_LONGEST_CONTROL_ID]
    text = message([_header(read, settings, control_id), *body])
    return Outgoing(control_id, charsets.encoded(text, settings.charset))


def _header(read: ReadReport, settings: MessageSettings, control_id: str) -> str:
    enhanced = settings.acknowledgement is Acknowledgement.ENHANCED
    return segment(
        "MSH",
        {
            3: _designator(settings.sending_application),
            4: _designator(settings.sending_facility),
            5: _designator(settings.receiving_application),
            6: _designator(settings.receiving_facility),
            7: moment(read.document.written),
            9: components("ORU", "R01", "ORU_R01"),
            10: control_id,
            11: settings.processing_id,
            12: VERSION,
            # Accept acknowledgement always, application acknowledgement never (table 0155).
            15: "AL" if enhanced else "",
            16: "NE" if enhanced else "",
            18: settings.charset,
        },
    )


def _body(read: ReadReport, settings: MessageSettings) -> Iterator[str]:
    patient = read.patient
    yield segment(
        "PID",
        {
            1: "1",
            3: components(patient.patient_id, "", "", patient.issuer),
            5: patient_name(patient.name),
            7: date(patient.birth_date),
            8: sex(patient.sex),
        },
    )
    yield segment(
        "PV1", {1: "1", 2: _UNKNOWN_CLASS, 8: provider_name(read.study.referring_physician)}
    )
    for number, order in enumerate(_orders(read), 1):
        yield from _order(read, order, number, settings.result_status)
        yield from _Observations(read, settings.result_status).segments()


def _orders(read: ReadReport) -> Sequence[ReadOrder]:
    """Return the orders that differ; one without numbers if the report names none."""
    found: dict[tuple[str, str, str], ReadOrder] = {}
    for order in read.orders:
        numbers = (order.placer_order_number, order.filler_order_number, order.accession_number)
        found.setdefault(numbers, order)
    return list(found.values()) or [ReadOrder("", "", "", "", "", "", None)]


def _order(read: ReadReport, order: ReadOrder, number: int, status: ResultStatus) -> Iterator[str]:
    accession = order.accession_number or read.study.accession_number
    placer = components(order.placer_order_number)
    # An order filler numbers its orders; without such a number the accession number is the
    # identifier of the RIS, and without that the study names itself.
    filler = components(order.filler_order_number or accession or read.study.study_instance_uid)
    procedure = _coded(order.procedure or read.procedures[0])
    yield segment("ORC", {1: "RE", 2: placer, 3: filler})
    yield segment(
        "OBR",
        {
            1: str(number),
            2: placer,
            3: filler,
            4: procedure,
            7: date_time(read.study.date, read.study.time, read.document.written),
            18: escaped(accession),
            22: moment(read.document.written),
            24: "RAD",
            25: _CORRECTED if read.document.predecessors else status,
            44: procedure,
        },
    )


class _Observations:
    """The OBX segments of one order. OBX-4 groups: `1` an image, `1.2` its second finding."""

    def __init__(self, read: ReadReport, status: ResultStatus) -> None:
        self._read = read
        # A preliminary result that is replaced stays preliminary: C would make it final.
        corrects = bool(read.document.predecessors) and status is ResultStatus.FINAL
        self._status = _CORRECTED if corrects else status.value
        self._count = 0

    def segments(self) -> Iterator[str]:
        read = self._read
        yield from self._texts(_COMMENT, "notice", [read.research_notice])
        yield from self._texts(_SUMMARY, "", [read.summary])
        yield from self._texts(_COMMENT, "statements", read.statements)
        not_analysed = [omission.line for omission in read.not_analysed]
        yield from self._texts(_COMMENT, "not analysed", not_analysed)
        yield self._uid("SR Instance UID", "", read.document.sop_instance_uid)
        for predecessor in read.document.predecessors:
            yield self._uid("Predecessor SR Instance UID", "", predecessor.sop_instance_uid)
        study = escaped(read.study.study_instance_uid)
        yield self._observation("ST", _STUDY, "", study, {11: _ORDER_DETAIL})
        for number, image in enumerate(read.images, 1):
            yield from self._image(image, number)
        yield from self._texts(_COMMENT, "explanations", read.explanations)

    def _image(self, image: ReadImage, number: int) -> Iterator[str]:
        group = str(number)
        yield from self._reference(image.reference, group)
        yield from self._texts(_SUMMARY, group, image.sentences)
        yield from self._texts(_COMMENT, group, image.notes)
        for position, finding in enumerate(image.findings, 1):
            yield from self._finding(finding, f"{group}.{position}")

    def _reference(self, reference: ObjectReference, group: str) -> Iterator[str]:
        yield self._uid("Study Instance UID", group, reference.study_instance_uid)
        yield self._uid("Series Instance UID", group, reference.series_instance_uid)
        yield self._uid("SOP Instance UID", group, reference.sop_instance_uid)
        yield self._uid("SOP Class UID", group, reference.sop_class_uid)

    def _finding(self, finding: ReadFinding, group: str) -> Iterator[str]:
        made_by = _made_by(self._read.algorithm)
        code, result = _coded(finding.code), _coded(finding.result)
        yield self._observation("CWE", code, group, result, made_by)
        for name, value in (
            (_PROBABILITY, finding.probability),
            (_THRESHOLD, finding.threshold),
        ):
            yield self._observation("NM", name, group, _number(value), {6: _NO_UNITS})
        yield self._observation("CWE", _SITE, group, _coded(finding.site))
        yield self._observation("ST", _TRACKING_UID, group, escaped(finding.tracking_uid))
        if finding.heatmap is not None:
            heatmap = escaped(finding.heatmap.sop_instance_uid)
            yield self._observation("ST", _EXPLANATION, group, heatmap)

    def _texts(self, name: str, group: str, texts: Iterable[str]) -> Iterator[str]:
        """Yield a segment for each text; those of one name and group are lines of one text.

        Few receivers read a second repetition of OBX-5.
        """
        for text in texts:
            yield self._observation("TX", name, group, escaped(text))

    def _uid(self, name: str, group: str, uid: str) -> str:
        return self._observation("HD", components("", name), group, components(uid))

    def _observation(
        self, kind: str, name: str, group: str, value: str, more: dict[int, str] | None = None
    ) -> str:
        self._count += 1
        fields = {1: str(self._count), 2: kind, 3: name, 4: group, 5: value, 11: self._status}
        return segment("OBX", fields | (more or {}))


def _made_by(algorithm: ReadAlgorithm) -> dict[int, str]:
    """Return OBX-17, the method, and OBX-18, the device: the model by its name and UID."""
    return {
        17: components("", f"{algorithm.name} {algorithm.version}".strip()),
        18: components(algorithm.name, algorithm.manufacturer, algorithm.device_uid, "ISO"),
    }


def _coded(code: CodedValue) -> str:
    return components(code.value, code.meaning, code.scheme)


def _designator(configured: str) -> str:
    return components(*configured.split("^"))


def _number(value: float) -> str:
    """Return a number of the report, which has six decimals, without an exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
