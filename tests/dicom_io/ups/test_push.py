"""Workitems that a peer pushes to this node, by pynetdicom's SCU of UPS Push and Query."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pydicom.tag import Tag
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from dicom_io.receive.node import Node
from dicom_io.ups.workitems import (
    Code,
    ObjectReference,
    Performed,
    SeriesReference,
    StepState,
)
from tests.servers.worklist.dimse_manager import EVENT, PULL, PUSH, WATCH
from tests.servers.worklist.shelf import MemoryShelf, workitem_node
from tests.servers.worklist.steps import chest_step, code
from tests.tools.ports import HOST

pytestmark = pytest.mark.network

CR = "1.2.840.10008.5.1.4.1.1.1"
UID, STUDY = "1.2.3.77", "1.2.3.1"
QUERY = "1.2.840.10008.5.1.4.34.6.5"


@pytest.fixture
def shelf() -> MemoryShelf:
    return MemoryShelf()


@pytest.fixture
def node(shelf: MemoryShelf) -> Iterator[Node]:
    with workitem_node(shelf) as running:
        yield running


@contextmanager
def requester(
    node: Node, *, title: str = "REQUESTER", classes: tuple[str, ...] = (PUSH, QUERY)
) -> Iterator[Association]:
    ae = AE(ae_title=title)
    ae.dimse_timeout = 10
    contexts = [build_context(uid) for uid in ("1.2.840.10008.1.1", *classes)]
    association = ae.associate(HOST, node.port, contexts=contexts, ae_title="CXRD")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def new_step() -> Dataset:
    return chest_step(STUDY, {"1.2.3.1.1": [(CR, "1.2.3.1.1.1")]})


def pushed(association: Association, ds: Dataset, uid: str | None = UID) -> int:
    status, _ = association.send_n_create(ds, PUSH, uid)
    return int(status.Status)


def test_a_pushed_workitem_is_kept_and_shown(node: Node, shelf: MemoryShelf) -> None:
    ds = new_step()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Müller^Jörg"
    with requester(node) as association:
        assert pushed(association, ds) == 0x0000
        status, found = association.send_n_get([], PUSH, UID)
        assert status.Status == 0x0000
        assert found is not None
        assert found.SOPInstanceUID == UID
        assert str(found.PatientName) == "Müller^Jörg"
        assert found.ProcedureStepState == "SCHEDULED"
        assert "TransactionUID" not in found
        status, found = association.send_n_get([Tag("PatientID")], PUSH, UID)
        assert found is not None
        assert [element.keyword for element in found] == ["PatientID"]
    ((new, caller),) = shelf.created
    assert (new.uid, caller.ae_title) == (UID, "REQUESTER")
    assert new.details.patient.name == "Müller^Jörg"
    assert new.details.inputs[0].instances == (ObjectReference(CR, "1.2.3.1.1.1"),)


def test_a_second_workitem_of_the_same_uid_is_a_duplicate(node: Node, shelf: MemoryShelf) -> None:
    with requester(node) as association:
        assert pushed(association, new_step()) == 0x0000
        assert pushed(association, new_step()) == 0x0111
    assert len(shelf.created) == 1


@pytest.mark.parametrize(
    ("keyword", "value", "status"),
    [
        ("ProcedureStepLabel", None, 0x0120),
        ("ProcedureStepLabel", "", 0x0121),
        ("ScheduledProcedureStepStartDateTime", None, 0x0120),
        ("ProcedureStepState", "IN PROGRESS", 0xC309),
        ("ScheduledProcedureStepPriority", "NOW", 0x0106),
        ("TransactionUID", "2.25.1", 0x0106),
        ("UnifiedProcedureStepPerformedProcedureSequence", [code("X")], 0x0106),
    ],
)
def test_a_workitem_with_a_wrong_attribute_is_refused(
    node: Node, shelf: MemoryShelf, keyword: str, value: object, status: int
) -> None:
    ds = new_step()
    if value is None:
        del ds[keyword]
    else:
        setattr(ds, keyword, value)
    with requester(node) as association:
        assert pushed(association, ds) == status
    assert shelf.created == []


def test_a_broken_reference_and_a_missing_uid_are_refused(node: Node) -> None:
    ds = new_step()
    ds.InputInformationSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""
    with requester(node) as association:
        assert pushed(association, ds) == 0x0106
    with requester(node) as association:
        status, _ = association.send_n_create(new_step(), PUSH, None)
        assert status.Status == 0x0115


def test_a_shelf_that_fails_is_a_processing_failure(node: Node, shelf: MemoryShelf) -> None:
    shelf.broken = True
    with requester(node) as association:
        assert pushed(association, new_step()) == 0x0110


def test_a_performed_workitem_shows_its_results(node: Node, shelf: MemoryShelf) -> None:
    output = SeriesReference(STUDY, "1.2.3.1.9", (ObjectReference(CR, "1.2.3.1.9.1"),), ("PACS",))
    performed = Performed(
        Code("CXRD", "99CXRD"), (Code("CXR-AI", "99T"),), "20260101", "20260102", (output,)
    )
    with requester(node) as association:
        pushed(association, new_step())
        shelf.change(UID, state=StepState.COMPLETED, progress=100.0, performed=performed)
        _, found = association.send_n_get([], PUSH, UID)
        assert found is not None
        (done,) = found.UnifiedProcedureStepPerformedProcedureSequence
        assert done.OutputInformationSequence[0].SeriesInstanceUID == "1.2.3.1.9"
        assert found.ProcedureStepState == "COMPLETED"
        shelf.change(
            UID,
            state=StepState.CANCELED,
            performed=None,
            cancelled="20260101",
            cancel_reason="für X",
        )
        _, found = association.send_n_get([], PUSH, UID)
        assert found is not None
        (progress,) = found.ProcedureStepProgressInformationSequence
        assert progress.ReasonForCancellation == "für X"
        (reason,) = progress.ProcedureStepDiscontinuationReasonCodeSequence
        assert reason.CodeValue == "110513"


def test_workitems_are_searched_for(node: Node, shelf: MemoryShelf) -> None:
    query = Dataset()
    query.SOPInstanceUID = ""
    query.PatientID = "PAT2"
    query.PatientName = "TEST*"
    query.ScheduledProcedureStepStartDateTime = "20260101-20260102"
    query.ScheduledWorkitemCodeSequence = [code("CXR-AI")]
    query.ExpectedCompletionDateTime = None
    other = chest_step(STUDY, {}, patient_id="PAT2")
    with requester(node) as association:
        pushed(association, new_step())
        pushed(association, other, "1.2.3.78")

        def found() -> list[Dataset]:
            answers = list(association.send_c_find(query, QUERY))
            assert answers[-1][0].Status == 0x0000
            return [answer for _, answer in answers if answer is not None]

        assert found() == []
        query.PatientName = "Test*"
        (answer,) = found()
        assert (answer.SOPInstanceUID, answer.PatientID) == ("1.2.3.78", "PAT2")
        assert "ExpectedCompletionDateTime" in answer
        assert "ProcedureStepLabel" not in answer
        query.ScheduledProcedureStepStartDateTime = "-20251231"
        assert found() == []


def test_a_request_to_cancel_reaches_the_shelf(node: Node, shelf: MemoryShelf) -> None:
    request = Dataset()
    request.ReasonForCancellation = "wrong patient"
    request.ContactDisplayName = "Dr A"
    with requester(node) as association:
        pushed(association, new_step())

        def act(kind: int, uid: str = UID) -> int:
            status, _ = association.send_n_action(request, kind, PUSH, uid)
            return int(status.Status)

        assert act(2) == 0x0000
        assert act(2, "1.2.3.99") == 0xC307
        assert [act(kind) for kind in (1, 3, 4, 5)] == [0x0123] * 4
    ((uid, cancel, caller),) = shelf.cancels
    assert (uid, cancel.reason, cancel.contact) == (UID, "wrong patient", "Dr A")
    assert caller.ae_title == "REQUESTER"


def test_only_peers_may_push_and_only_where_it_is_offered(shelf: MemoryShelf) -> None:
    with workitem_node(shelf, is_pushed_to=False) as node:
        with requester(node, classes=(PUSH, WATCH, PULL, EVENT, QUERY)) as association:
            accepted = {context.abstract_syntax for context in association.accepted_contexts}
            assert accepted == {"1.2.840.10008.1.1", EVENT}
        with requester(node, title="STRANGER") as association:
            assert association.is_rejected


def test_a_message_in_a_context_of_another_service_ends_the_association(
    node: Node, shelf: MemoryShelf
) -> None:
    with requester(node, classes=()) as association:
        status, _ = association.send_n_create(new_step(), PUSH, UID, meta_uid="1.2.840.10008.1.1")
        assert "Status" not in status
    assert shelf.created == []
