"""The Retrieve SCU: C-MOVE and C-GET of films of a study (PS3.4 C.4.2, C.4.3, Study Root)."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from pydicom import Dataset
from pynetdicom import build_context, evt

from dicom_io.commitment.messages import status_response
from dicom_io.errors import AssociationError, NotDicomError, QueryError
from dicom_io.objects.classes import PLAIN_SYNTAXES
from dicom_io.query.classes import FILM_CLASSES, store_contexts, store_roles
from dicom_io.query.services import GET, MOVE
from dicom_io.query.session import QueryLimits, QuerySession
from dicom_io.query.statuses import (
    UNKNOWN_MOVE_DESTINATION,
    Outcome,
    is_pending,
    outcome_of,
    status_text,
)
from dicom_io.query.values import FoundInstance
from dicom_io.receive.store_request import (
    ReceivedInstance,
    StoreStatus,
    mismatch,
    received,
)
from dicom_io.send.association import Destination

_UIDS_OF_A_REQUEST = 200
"""SOP Instance UIDs that one request names: some archives limit the length of the list."""
_CANCEL_SECONDS = 10.0
"""Time in which a peer ends a cancelled retrieval."""


class Service(StrEnum):
    """The services by which an archive sends the films of a study."""

    MOVE = "move"
    """It opens an association to this node, C-MOVE."""
    GET = "get"
    """It sends them on the association of the request, C-GET."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The end of a retrieval.

    The numbers are those of the peer's last responses: sub-operations that it completed, of which
    `warnings` with a warning, and those that failed. `detail` is one line with the cause of an
    outcome other than DONE.
    """

    outcome: Outcome
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    detail: str = ""


class RetrieveSession(QuerySession):
    """An association with an archive to query it and to retrieve films; a context manager.

    With C-GET each film is given to `on_store`, in the thread that called `retrieve`, and its
    result is the status of the response. A film that was not asked for is answered 0xC000 and not
    given on. `max_object_bytes` bounds one film. `seconds` is the time of a whole retrieval.
    """

    def __init__(
        self,
        destination: Destination,
        service: Service,
        on_store: Callable[[ReceivedInstance], StoreStatus],
        limits: QueryLimits | None = None,
        *,
        seconds: float = 3600.0,
        max_object_bytes: int = 512 << 20,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        is_get = service is Service.GET
        model = GET if is_get else MOVE
        super().__init__(
            destination,
            limits,
            further=(
                build_context(model, list(PLAIN_SYNTAXES)),
                *(store_contexts() if is_get else ()),
            ),
            roles=tuple(store_roles()) if is_get else (),
            should_stop=should_stop,
        )
        self._service = service
        self._model = model
        self._on_store = on_store
        self._seconds = seconds
        self._max_object_bytes = max_object_bytes
        self._asked: frozenset[tuple[str, str]] = frozenset()

    def retrieve(self, study_instance_uid: str, wanted: Collection[FoundInstance]) -> Retrieved:
        """Fetch these films of a study.

        A request names a series and films in it. Ends with the first request that does not
        succeed. Raises QueryError and AssociationError.
        """
        name = "C-GET" if self._service is Service.GET else "C-MOVE"
        self._require(self._model, f"retrieval ({name}, Study Root)")
        association, provider = self._association, self._provider
        provider.max_object_bytes = self._max_object_bytes
        if self._service is Service.GET:
            self._asked = frozenset(
                (study_instance_uid, instance.sop_instance_uid) for instance in wanted
            )
            association.bind(evt.EVT_C_STORE, self._store)
        total = Retrieved(Outcome.DONE)
        for identifier in _requests(study_instance_uid, wanted):
            one = self._request(identifier)
            total = replace(
                one,
                completed=total.completed + one.completed,
                failed=total.failed + one.failed,
                warnings=total.warnings + one.warnings,
            )
            if one.outcome is not Outcome.DONE:
                break
        return total

    def _request(self, identifier: Dataset) -> Retrieved:
        association, provider = self._association, self._provider
        until = time.monotonic() + self._seconds
        cancelled_at: float | None = None

        def look() -> None:
            nonlocal cancelled_at
            now = time.monotonic()
            if cancelled_at is None and (self._should_stop() or now > until):
                cancelled_at = now
                association.send_c_cancel(provider.message_id, query_model=self._model)
            if cancelled_at is not None and now > cancelled_at + _CANCEL_SECONDS:
                with suppress(AssociationError):
                    association.abort()
                raise AssociationError(
                    f"{self.name} did not end a retrieval that was cancelled", retryable=True
                )

        provider.on_wait = look
        if self._service is Service.GET:
            responses = association.send_c_get(identifier, GET)
        else:
            title = self._destination.calling_ae_title
            responses = association.send_c_move(identifier, title, MOVE)
        for status, _ in responses:
            if "Status" not in status:
                raise self._broken(provider)
            if not is_pending(int(status.Status)):
                return self._retrieved(status, late=time.monotonic() > until)
            look()
        raise self._broken(provider)

    def _retrieved(self, status: Dataset, *, late: bool) -> Retrieved:
        code = int(status.Status)
        outcome = outcome_of(code)
        detail = status_text(code, str(status.get("ErrorComment", "") or ""))
        if outcome is Outcome.CANCELLED and late:
            outcome, detail = Outcome.RETRY, f"not done after {self._seconds:.0f} s"
        if code == UNKNOWN_MOVE_DESTINATION:
            detail += (
                f"; add the AE title {self._destination.calling_ae_title} with the address and port"
                " of this node to the archive"
            )
        completed, failed, warnings = (
            int(status.get(f"NumberOf{kind}Suboperations", None) or 0)
            for kind in ("Completed", "Failed", "Warning")
        )
        if outcome is Outcome.PARTIAL:
            detail = f"it could not send {failed} of {completed + failed + warnings} objects"
        said = "" if outcome is Outcome.DONE else f"{self.name}: {detail}"
        return Retrieved(outcome, completed + warnings, failed, warnings, said)

    def _store(self, event: evt.Event) -> Dataset:
        """Answer a C-STORE request of a C-GET."""
        try:
            instance = received(event)
        except NotDicomError as error:
            return status_response(StoreStatus.CANNOT_UNDERSTAND, str(error)[:64])
        problem = mismatch(event, instance)
        if problem:
            return status_response(StoreStatus.SOP_CLASS_MISMATCH, problem)
        header = instance.header
        if (header.study_instance_uid, instance.sop_instance_uid) not in self._asked:
            return status_response(StoreStatus.CANNOT_UNDERSTAND, "it was not asked for")
        peer = self._destination
        return status_response(
            self._on_store(
                replace(
                    instance,
                    calling_ae_title=peer.ae_title,
                    calling_host=peer.host,
                    called_ae_title=peer.calling_ae_title,
                )
            )
        )


def _requests(study: str, wanted: Collection[FoundInstance]) -> Iterator[Dataset]:
    """Return the identifiers of the requests (PS3.4 C.4.2.2.1): they name what is wanted alone."""
    by_series: dict[str, list[str]] = defaultdict(list)
    for instance in wanted:
        by_series[instance.series_instance_uid].append(instance.sop_instance_uid)
    for series, uids in by_series.items():
        for start in range(0, len(uids), _UIDS_OF_A_REQUEST):
            identifier = Dataset()
            identifier.QueryRetrieveLevel = "IMAGE"
            identifier.StudyInstanceUID = study
            identifier.SeriesInstanceUID = series
            identifier.SOPInstanceUID = uids[start : start + _UIDS_OF_A_REQUEST]
            yield identifier


def offers(destination: Destination, service: Service | None) -> str:
    """Return the reason why an archive cannot be queried, or not retrieved from; '' if it can.

    Sends no query.
    """
    try:
        if service is None:
            with QuerySession(destination):
                return ""
        with RetrieveSession(destination, service, lambda _: StoreStatus.SUCCESS) as session:
            name = "C-GET" if service is Service.GET else "C-MOVE"
            session._require(session._model, f"retrieval ({name}, Study Root)")
            if service is Service.GET and not {*FILM_CLASSES} & {*session.accepted}:
                return f"{destination.name} accepts none of the classes of films for C-GET"
    except (AssociationError, QueryError) as error:
        return str(error)
    return ""
