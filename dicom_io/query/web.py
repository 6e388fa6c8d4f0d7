"""An archive queried by QIDO-RS whose films come by WADO-RS (PS3.18 10.4, 10.6)."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from dicom_io.dicomweb.client import DicomwebClient
from dicom_io.dicomweb.dicom_json import JsonObject, number_of, text_of, values_of
from dicom_io.dicomweb.multipart import Limits
from dicom_io.errors import HttpError, NotDicomError, QueryError
from dicom_io.http.client import Endpoint
from dicom_io.query.classes import FILM_CLASSES, FILM_MODALITIES
from dicom_io.query.retrieval import Retrieved
from dicom_io.query.session import FoundStudies, QueryLimits
from dicom_io.query.statuses import Outcome
from dicom_io.query.values import (
    FoundInstance,
    FoundStudy,
    StudyQuery,
    fault_of,
    has_modality,
)
from dicom_io.read.header import is_uid, read_header
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus

_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_MODALITY = "00080060"
_FIELDS = ("AccessionNumber", "PatientID", "IssuerOfPatientID", "StudyDate", "ModalitiesInStudy")


class _StoppedError(Exception):
    """The retrieval is to end."""


class WebArchive:
    """The same queries and retrievals as `RetrieveSession`, over DICOMweb; a context manager.

    All methods raise QueryError.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ae_title: str,
        on_store: Callable[[ReceivedInstance], StoreStatus],
        limits: QueryLimits | None = None,
        *,
        seconds: float = 3600.0,
        max_object_bytes: int = 512 << 20,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Films get `ae_title` and the host of the endpoint as their sender."""
        self.name = endpoint.name
        self._endpoint = endpoint
        self._ae_title = ae_title
        self._on_store = on_store
        self._limits = limits or QueryLimits()
        self._seconds = seconds
        self._parts = Limits(part_bytes=max_object_bytes)
        self._should_stop = should_stop
        self._client: DicomwebClient | None = None

    def __enter__(self) -> Self:
        try:
            self._client = DicomwebClient(self._endpoint)
        except HttpError as error:
            raise _refused(error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(kind, error, trace)

    def find_studies(self, query: StudyQuery) -> FoundStudies:
        """Return the studies that answer a query; each once."""
        found: dict[str, FoundStudy] = {}
        refused: Counter[str] = Counter()
        is_cut = False
        for modality in query.modalities or ("",):
            answers = self._search("studies", _keys_of(query, modality), _FIELDS)
            is_cut |= len(answers) > self._limits.answers
            for answer in answers[: self._limits.answers]:
                study = _study_of(answer)
                fault = fault_of(study, query)
                if fault:
                    refused[fault] += 1
                elif has_modality(study, query.modalities):
                    found.setdefault(study.study_instance_uid, study)
        return FoundStudies(tuple(found.values()), is_cut, dict(refused))

    def find_films(self, study_instance_uid: str) -> tuple[FoundInstance, ...]:
        """Return the films of a study, and the notes that reject films; none if it is not there."""
        path = f"studies/{study_instance_uid}"
        found: dict[str, FoundInstance] = {}
        for series in self._all(f"{path}/series", "Modality"):
            if text_of(series, _MODALITY).upper() not in FILM_MODALITIES:
                continue
            uid = self._own(series, study_instance_uid, _SERIES)
            for answer in self._all(f"{path}/series/{uid}/instances", "SOPClassUID"):
                instance = self._own(answer, study_instance_uid, _INSTANCE)
                sop_class = text_of(answer, _CLASS)
                if not sop_class or sop_class in FILM_CLASSES:
                    found.setdefault(instance, FoundInstance(uid, instance, sop_class))
        return tuple(found.values())

    def retrieve(self, study_instance_uid: str, wanted: Collection[FoundInstance]) -> Retrieved:
        """Fetch these films of a study, one request for each."""
        until = time.monotonic() + self._seconds
        stored = failed = 0

        def keep(data: bytes) -> None:
            nonlocal stored, failed
            received = self._received(data)
            asked = (study_instance_uid, film.sop_instance_uid)
            if received is None or asked != (
                received.header.study_instance_uid,
                received.sop_instance_uid,
            ):
                failed += 1
            elif self._on_store(received) is StoreStatus.SUCCESS:
                stored += 1
            else:
                failed += 1

        def look() -> None:
            if self._should_stop() or time.monotonic() > until:
                raise _StoppedError

        for film in wanted:
            try:
                look()
                self._open.retrieve(
                    keep,
                    study_instance_uid,
                    film.series_instance_uid,
                    film.sop_instance_uid,
                    limits=self._parts,
                    seconds=self._seconds,
                    on_progress=look,
                )
            except _StoppedError:
                late = time.monotonic() > until
                return Retrieved(
                    Outcome.RETRY if late else Outcome.CANCELLED,
                    stored,
                    failed,
                    detail=f"{self.name}: not done after {self._seconds:.0f} s" if late else "",
                )
            except HttpError as error:
                raise _refused(error) from error
        if failed:
            detail = f"{self.name}: it could not send {failed} of {len(wanted)} objects"
            return Retrieved(Outcome.PARTIAL, stored, failed, detail=detail)
        return Retrieved(Outcome.DONE, stored)

    @property
    def _open(self) -> DicomwebClient:
        if self._client is None:
            raise QueryError(f"{self.name} is not open", retryable=True)
        return self._client

    def _all(self, path: str, field: str) -> list[JsonObject]:
        found = self._search(path, {}, (field,))
        if len(found) > self._limits.answers:
            raise QueryError(
                f"{self.name} has more than {self._limits.answers} answers about one study:"
                " nothing is fetched; raise max_answers of its query",
                retryable=False,
            )
        return found

    def _search(
        self, path: str, keys: Mapping[str, str], fields: tuple[str, ...]
    ) -> list[JsonObject]:
        """Return the answers to a query: one more than the limit if there are more."""
        most = self._limits.answers
        found: list[JsonObject] = []
        until = time.monotonic() + self._limits.seconds

        def look() -> None:
            if self._should_stop():
                raise QueryError("the query was stopped", retryable=True)
            if time.monotonic() > until:
                raise QueryError(
                    f"{self.name} is still answering a query after {self._limits.seconds:.0f} s;"
                    " ask for fewer days",
                    retryable=True,
                )

        try:
            for answer in self._open.search(
                path, keys, fields=fields, most=most + 1000, on_progress=look
            ):
                look()
                found.append(answer)
                if len(found) > most:
                    break
        except HttpError as error:
            raise _refused(error) from error
        return found

    def _own(self, answer: JsonObject, study: str, tag: str) -> str:
        uid = text_of(answer, tag)
        if text_of(answer, _STUDY) not in ("", study) or not is_uid(uid):
            raise QueryError(
                f"{self.name} answers about another study than asked for, or without a UID:"
                " nothing is fetched; tell the vendor of its software",
                retryable=False,
            )
        return uid

    def _received(self, data: bytes) -> ReceivedInstance | None:
        try:
            header = read_header(data)
        except NotDicomError:
            return None
        return ReceivedInstance(
            data=data,
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            calling_ae_title=self._ae_title,
            calling_host=urlsplit(self._endpoint.url).hostname or "",
            header=header,
        )


def _refused(error: HttpError) -> QueryError:
    return QueryError(str(error), retryable=error.retryable)


def _keys_of(query: StudyQuery, modality: str) -> dict[str, str]:
    keys = {
        "StudyInstanceUID": query.study_instance_uid,
        "AccessionNumber": query.accession_number,
        "PatientID": query.patient_id,
        "IssuerOfPatientID": query.issuer_of_patient_id,
        "StudyDate": query.days,
        "ModalitiesInStudy": modality,
    }
    return {name: value for name, value in keys.items() if value}


def _study_of(answer: JsonObject) -> FoundStudy:
    return FoundStudy(
        study_instance_uid=text_of(answer, _STUDY),
        accession_number=text_of(answer, "00080050"),
        patient_id=text_of(answer, "00100020"),
        issuer_of_patient_id=text_of(answer, "00100021"),
        study_date=text_of(answer, "00080020"),
        study_time=text_of(answer, "00080030"),
        modalities=tuple(str(value) for value in values_of(answer, "00080061")),
        instances=number_of(answer, "00201208"),
    )
