"""Workitems that peers create at this node: kept, performed and shown."""

from pathlib import Path

import pytest
from pydicom import Dataset

from daemon.config.partners.worklist import WorklistConfig, WorklistKind
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.worklist.pushed import LocalManager, Shelf
from dicom_io.peer.peers import Caller
from dicom_io.ups.scp.created import attributes_of, new_workitem
from dicom_io.ups.scp.shelf import CancelRequest, ShelfRefusalError, ShelfStatus
from dicom_io.ups.workitems import StepState
from storage.records import JobState, Priority
from tests.builders.worklist.scene import Scene

CALLER = Caller("ORDERER", "127.0.0.1")
OTHER = Caller("OTHER", "127.0.0.1")
CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
UID = "2.25.700"


def coded(value: str) -> Dataset:
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, "DCM", value
    return ds


def step(scene: Scene, code: str = "110004", priority: str = "MEDIUM") -> Dataset:
    """Return the attributes of a workitem about the film of study 1."""
    film, place, series = Dataset(), Dataset(), Dataset()
    film.ReferencedSOPClassUID, film.ReferencedSOPInstanceUID = CLASS, "2.25.91"
    place.RetrieveAETitle = "PACS"
    series.TypeOfInstances = "DICOM"
    series.StudyInstanceUID, series.SeriesInstanceUID = scene.study(1), f"{scene.study(1)}.9"
    series.ReferencedSOPSequence, series.DICOMRetrievalSequence = [film], [place]
    ds = Dataset()
    ds.ScheduledProcedureStepPriority = priority
    ds.ProcedureStepLabel = "Chest film analysis"
    ds.ScheduledProcedureStepStartDateTime = "20260101080000"
    ds.InputReadinessState = "READY"
    ds.ProcedureStepState = "SCHEDULED"
    ds.ScheduledWorkitemCodeSequence = [coded(code)]
    ds.InputInformationSequence = [series]
    ds.StudyInstanceUID = scene.study(1)
    return ds


@pytest.fixture
def shelf(scene: Scene, tmp_path: Path) -> Shelf:
    """The shelf of a node whose worklist `ris` takes workitems of ORDERER."""
    peer = PeerConfig(
        name="pacs",
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        sends=True,
        receives=(Product.REPORT,),
        source=scene.config.source,
    )
    scene.config = WorklistConfig(
        name="ris", kind=WorklistKind.PUSH, source=scene.config.source, requesters=("ORDERER",)
    )
    return Shelf(Config(data_dir=tmp_path, peers=(peer,), worklists=(scene.config,)), scene.store)


def perform(scene: Scene) -> None:
    scene.clock.advance(60)
    performer, queue = scene.performer()
    while job := queue.claim():
        performer.perform(job, LocalManager("ris", scene.store))


def state_of(shelf: Shelf) -> StepState:
    kept = shelf.get(UID, CALLER)
    assert kept is not None
    return kept.state


def test_a_created_workitem_is_performed_and_names_its_outputs(scene: Scene, shelf: Shelf) -> None:
    shelf.create(new_workitem(UID, step(scene, priority="HIGH")), CALLER)
    assert state_of(shelf) is StepState.SCHEDULED
    assert scene.job(UID).priority == Priority.STAT
    perform(scene)
    assert state_of(shelf) is StepState.IN_PROGRESS
    scene.send(1)
    scene.deliver()
    perform(scene)
    assert state_of(shelf) is StepState.COMPLETED
    assert scene.job(UID).state is JobState.DONE
    (kept,) = shelf.kept(CALLER, 10)
    shown = attributes_of(kept)
    (performed,) = shown.UnifiedProcedureStepPerformedProcedureSequence
    (series,) = performed.OutputInformationSequence
    (output,) = series.ReferencedSOPSequence
    assert {output.ReferencedSOPInstanceUID} == scene.kept[scene.study(1)]
    assert series.DICOMRetrievalSequence[0].RetrieveAETitle == "PACS"
    assert shown.ProcedureStepLabel == "Chest film analysis"


def test_a_workitem_is_created_once_and_by_its_requesters_alone(scene: Scene, shelf: Shelf) -> None:
    new = new_workitem(UID, step(scene))
    shelf.create(new, CALLER)
    for caller, refused, status in (
        (CALLER, new, ShelfStatus.DUPLICATE),
        (OTHER, new, ShelfStatus.NOT_AUTHORISED),
        (CALLER, new_workitem("2.25.701", step(scene, "110005")), ShelfStatus.INVALID_VALUE),
    ):
        with pytest.raises(ShelfRefusalError) as error:
            shelf.create(refused, caller)
        assert error.value.status is status
    assert shelf.get(UID, OTHER) is None
    assert shelf.kept(OTHER, 10) == []


def test_a_requested_cancel_ends_it_unless_it_is_completed(scene: Scene, shelf: Shelf) -> None:
    shelf.create(new_workitem(UID, step(scene)), CALLER)
    perform(scene)
    with pytest.raises(ShelfRefusalError) as unknown:
        shelf.request_cancel(UID, CancelRequest(), OTHER)
    assert unknown.value.status is ShelfStatus.UNKNOWN_WORKITEM
    shelf.request_cancel(UID, CancelRequest("wrong side"), CALLER)
    perform(scene)
    assert state_of(shelf) is StepState.CANCELED
    kept = shelf.get(UID, CALLER)
    assert kept is not None
    progress = attributes_of(kept).ProcedureStepProgressInformationSequence[0]
    assert progress.ReasonForCancellation == "canceled as the manager asked"
    with pytest.raises(ShelfRefusalError) as again:
        shelf.request_cancel(UID, CancelRequest(), CALLER)
    assert again.value.status is ShelfStatus.ALREADY_CANCELED
