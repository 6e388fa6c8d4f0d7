"""The tables of the Conformance Statement match the code; a failure names the rows."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import UID

from daemon.audit.messages import Reporter
from daemon.commitment.answers import RESEND_FOR
from daemon.config.destinations import picture_syntax
from daemon.config.loading import known_keys
from daemon.config.peers import PeerConfig
from daemon.config.receivers import PictureSyntax
from daemon.config.settings import Config
from dicom_io.commitment.messages import COMMITMENT_CLASS, FailureReason, MessageStatus
from dicom_io.gate.header_check import assess
from dicom_io.gate.reasons import Reason
from dicom_io.objects.classes import PLAIN_SYNTAXES, RESULT_CLASSES, VERIFICATION
from dicom_io.objects.codes import FINDING_CODES, PRIVATE_SCHEME_UID
from dicom_io.query.services import FIND, GET, MOVE
from dicom_io.read.image_header import ImageHeader
from dicom_io.receive.events import REJECT_CODES
from dicom_io.receive.limits import AbortReason
from dicom_io.receive.negotiation import RECEIVABLE_SYNTAXES, STORAGE_CLASSES
from dicom_io.receive.store_request import StoreStatus
from dicom_io.send.store_status import classify
from dicom_io.ups.classes import UPS_EVENT, UPS_PULL, UPS_PUSH, UPS_QUERY, UPS_WATCH
from storage.audit.records import AuditKind, AuditRow

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "conformance.md").read_text(encoding="utf-8")
NETWORK_SECTIONS = (
    "listener",
    "priority",
    "courier",
    "commitment",
    "study",
    "spool",
    "tls",
    "syslog",
)

Row = tuple[str, ...]


def table(name: str) -> list[Row]:
    """Return the rows below the comment of a table, without header and without backquotes."""
    found = re.search(rf"<!-- table: {name} -->\n\n((?:\|.*\n)+)", PAGE)
    assert found, f"docs/conformance.md has no table {name}"
    _, _, *rows = found[1].splitlines()
    return [tuple(cell.strip().strip("`") for cell in row[1:-1].split("|")) for row in rows]


def compare(name: str, documented: Sequence[Row], actual: Sequence[Row]) -> None:
    """Fail with the missing and the surplus rows of the table."""
    missing, surplus = set(actual) - set(documented), set(documented) - set(actual)
    assert not missing, f"table {name} of docs/conformance.md lacks {sorted(missing)}"
    assert not surplus, f"table {name} of docs/conformance.md has surplus rows {sorted(surplus)}"
    assert len(documented) == len(set(documented)), f"table {name} has a row twice"


def columns(name: str, *indexes: int) -> list[Row]:
    return [tuple(row[column] for column in indexes) for row in table(name)]


def is_analysed(sop_class: str) -> bool:
    ds = Dataset()
    ds.SOPClassUID = UID(sop_class)
    return assess(ImageHeader.of(ds)).reason not in (
        Reason.UNSUPPORTED_SOP_CLASS,
        Reason.FOR_PROCESSING,
    )


def test_storage_classes() -> None:
    compare("storage-classes", columns("storage-classes", 1), [(uid,) for uid in STORAGE_CLASSES])


def test_received_syntaxes() -> None:
    actual = [(uid,) for uid in RECEIVABLE_SYNTAXES]
    compare("received-syntaxes", columns("received-syntaxes", 1), actual)


def test_analysed_classes() -> None:
    actual = [(uid,) for uid in STORAGE_CLASSES if is_analysed(uid)]
    compare("analysed", columns("analysed", 1), actual)


def test_services() -> None:
    queries = FIND, MOVE, GET
    steps = UPS_PUSH, UPS_WATCH, UPS_PULL, UPS_EVENT, UPS_QUERY
    services = VERIFICATION, COMMITMENT_CLASS, *RESULT_CLASSES, *queries, *steps
    actual = [(uid,) for uid in services]
    compare("services", columns("services", 1), actual)


def test_sent_syntaxes() -> None:
    actual = [(uid,) for uid in PLAIN_SYNTAXES]
    compare("sent-syntaxes", columns("sent-syntaxes", 1), actual)


def test_picture_syntaxes() -> None:
    peers = [
        PeerConfig(name="x", ae_title="X", sends=True, picture_syntax=syntax)
        for syntax in PictureSyntax
    ]
    syntaxes = [(peer.picture_syntax.value, picture_syntax(peer)) for peer in peers]
    actual = [(name, syntax) for name, syntax in syntaxes if syntax is not None]
    compare("picture-syntaxes", columns("picture-syntaxes", 0, 2), actual)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("store-scp", StoreStatus),
        ("commitment-statuses", MessageStatus),
    ],
)
def test_statuses(name: str, statuses: type[StoreStatus] | type[MessageStatus]) -> None:
    actual = [(f"0x{status:04X}", status.name) for status in statuses]
    compare(name, columns(name, 0, 1), actual)


def test_every_status_of_a_store_is_read_as_documented() -> None:
    rows = sorted(table("store-scu"), key=lambda row: row[0].count("x"))
    patterns = [(re.compile(row[0][2:].replace("x", ".")), row[1]) for row in rows]
    wrong = {}
    for status in range(0x10000):
        documented = next(text for pattern, text in patterns if pattern.fullmatch(f"{status:04X}"))
        if documented != classify(status):
            wrong[f"0x{status:04X}"] = (documented, str(classify(status)))
    assert not wrong, f"table store-scu: status: (documented, actual) {wrong}"


def test_commitment_failures() -> None:
    actual = [
        (f"0x{reason:04X}", reason.name, "yes" if reason in RESEND_FOR else "no")
        for reason in FailureReason
    ]
    compare("commitment-failures", table("commitment-failures"), actual)


def test_rejections() -> None:
    actual = [(reason.value, *map(str, codes)) for reason, codes in REJECT_CODES.items()]
    compare("rejections", table("rejections"), actual)


def test_aborts() -> None:
    compare("aborts", columns("aborts", 0), [(reason.value,) for reason in AbortReason])


def test_configuration() -> None:
    defaults = {name: getattr(Config(), name) for name in NETWORK_SECTIONS}
    actual = [
        (key, str(getattr(defaults[section], name)))
        for key in known_keys()
        for section, _, name in [key.partition(".")]
        if section in NETWORK_SECTIONS
    ]
    compare("configuration", table("configuration"), actual)


def test_audit_messages() -> None:
    actual = []
    for kind in AuditKind:
        subject = "" if kind is AuditKind.INSTANCE_REFUSED else "study=1.2 object=1.3"
        if kind is AuditKind.DELIVERY_REQUESTED:
            subject = "study=1.2 destination=pacs"
        row = AuditRow(1, "2026-01-01T00:00:00Z", kind, "success", "", "", subject, "", "", "00")
        message = Reporter("CXRD", "host").message(row)
        types = ", ".join(code.value for code in message.types if code.scheme == "DCM")
        actual.append((kind.value, message.event.meaning, message.event.value, types))
    compare("audit-messages", table("audit-messages"), actual)


def test_codes() -> None:
    actual = [
        (
            finding.label,
            finding.concept.value,
            finding.concept.scheme,
            finding.concept.meaning,
            finding.concept.origin.value,
        )
        for finding in FINDING_CODES.values()
    ]
    compare("codes", table("codes"), actual)
    assert f"`{PRIVATE_SCHEME_UID}`" in PAGE


def test_every_table_marked_is_compared() -> None:
    marked = set(re.findall(r"<!-- table: ([a-z-]+) -->", PAGE))
    source = Path(__file__).read_text(encoding="utf-8")
    assert marked == {name for name in marked if f'"{name}"' in source}


def test_a_missing_row_is_named() -> None:
    with pytest.raises(AssertionError, match=r"table x of docs/conformance\.md lacks.*1\.2\.3"):
        compare("x", [("1.2",)], [("1.2",), ("1.2.3",)])
