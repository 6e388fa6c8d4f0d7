"""The Query SCU: one association with an archive, and C-FIND on it (PS3.4 C.4.1, Study Root)."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, cast

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from dicom_io.errors import AssociationError, QueryError
from dicom_io.objects.classes import PLAIN_SYNTAXES, VERIFICATION
from dicom_io.query.classes import FILM_CLASSES, FILM_MODALITIES
from dicom_io.query.messages import QueryProvider
from dicom_io.query.services import FIND
from dicom_io.query.statuses import CANCELLED, Outcome, is_pending, outcome_of, status_text
from dicom_io.query.values import (
    FoundInstance,
    FoundStudy,
    StudyQuery,
    fault_of,
    has_modality,
    study_of,
)
from dicom_io.read.header import is_uid, text
from dicom_io.send.association import Destination, accepted_syntaxes, associate

_STUDY_KEYS = (
    "StudyInstanceUID",
    "AccessionNumber",
    "PatientID",
    "IssuerOfPatientID",
    "StudyDate",
    "StudyTime",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)
_MOST_AFTER_CANCEL = 1000
"""Answers that a peer may still send after a C-CANCEL."""


def _goes_on() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """Limits of one query: the number of its answers, and its time in seconds."""

    answers: int = 5000
    seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class FoundStudies:
    """The studies that answer a query, in the order of the answers.

    `is_cut` is True if there were more than the limit. `refused` counts the answers that do not
    answer the query, by the fault.
    """

    studies: tuple[FoundStudy, ...]
    is_cut: bool = False
    refused: Mapping[str, int] = field(default_factory=dict)


class QuerySession:
    """One association with an archive for queries; a context manager.

    `further` are contexts beside Verification and C-FIND, with their `roles`. `should_stop` is
    asked about once a second and after each answer: after True the request is cancelled.
    Entering raises AssociationError, and QueryError if the archive offers no queries.
    """

    def __init__(
        self,
        destination: Destination,
        limits: QueryLimits | None = None,
        *,
        further: tuple[PresentationContext, ...] = (),
        roles: tuple[SCP_SCU_RoleSelectionNegotiation, ...] = (),
        should_stop: Callable[[], bool] = _goes_on,
    ) -> None:
        self.name = destination.name
        self._destination = destination
        self._limits = limits or QueryLimits()
        self._contexts = [
            build_context(VERIFICATION, list(PLAIN_SYNTAXES)),
            build_context(FIND, list(PLAIN_SYNTAXES)),
            *further,
        ]
        self._roles = roles
        self._should_stop = should_stop
        self._opened: Association | None = None

    def __enter__(self) -> Self:
        self._opened = associate(
            self._destination, self._contexts, self._roles, provider=QueryProvider
        )
        try:
            self._require(FIND, "queries (C-FIND, Study Root)")
        except QueryError:
            self.__exit__(None, None, None)
            raise
        return self

    def _renew(self) -> None:
        """Open another association: some archives end one on which a C-CANCEL came too late."""
        association, self._opened = self._opened, None
        if association is not None and association.is_established:
            association.abort()
        self.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        association, self._opened = self._opened, None
        if association is not None and association.is_established:
            association.release()

    @property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """Return the transfer syntaxes that the archive accepted, by SOP class."""
        return accepted_syntaxes(self._association)

    def find_studies(self, query: StudyQuery) -> FoundStudies:
        """Return the studies that answer a query; each once.

        Raises QueryError and AssociationError.
        """
        found: dict[str, FoundStudy] = {}
        refused: Counter[str] = Counter()
        is_cut = False
        for modality in query.modalities or ("",):
            answers = _Answers(self, _identifier("STUDY", _keys_of(query, modality)))
            for answer in answers:
                study = study_of(answer)
                fault = fault_of(study, query)
                if fault:
                    refused[fault] += 1
                elif has_modality(study, query.modalities):
                    found.setdefault(study.study_instance_uid, study)
            is_cut |= answers.is_cut
            if answers.unreadable:
                refused["it cannot be read"] += answers.unreadable
        return FoundStudies(tuple(found.values()), is_cut, dict(refused))

    def find_films(self, study_instance_uid: str) -> tuple[FoundInstance, ...]:
        """Return the films of a study, and the notes that reject films; none if it is not there.

        An instance whose class the archive does not give counts as a film if its series may hold
        films. Raises QueryError, also for an answer about another study, and AssociationError.
        """
        above = {"StudyInstanceUID": study_instance_uid}
        found: dict[str, FoundInstance] = {}
        keys = {**above, "SeriesInstanceUID": "", "Modality": ""}
        series = [
            self._own(answer, above, "SeriesInstanceUID")
            for answer in self._all("SERIES", keys)
            if text(answer, "Modality").upper() in FILM_MODALITIES
        ]
        for uid in dict.fromkeys(series):
            above = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": uid}
            keys = {**above, "SOPInstanceUID": "", "SOPClassUID": ""}
            for answer in self._all("IMAGE", keys):
                instance = self._own(answer, above, "SOPInstanceUID")
                sop_class = text(answer, "SOPClassUID")
                if not sop_class or sop_class in FILM_CLASSES:
                    found.setdefault(instance, FoundInstance(uid, instance, sop_class))
        return tuple(found.values())

    def _all(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        answers = _Answers(self, _identifier(level, keys))
        found = list(answers)
        if answers.is_cut or answers.unreadable:
            what = "cannot be read" if answers.unreadable else "are more than the limit"
            raise QueryError(
                f"{self.name} gives answers at the {level} level that {what}", retryable=False
            )
        return found

    def _own(self, answer: Dataset, above: Mapping[str, str], key: str) -> str:
        """Return the UID of an answer. Raises QueryError if it lacks one or is of another study."""
        for name, value in above.items():
            # A peer need not repeat the keys above the level (PS3.4 C.4.1.1.3.2).
            if text(answer, name) not in ("", value):
                raise QueryError(
                    f"{self.name} answers about another {name} than asked for: nothing is fetched;"
                    " tell the vendor of its software",
                    retryable=False,
                )
        uid = text(answer, key)
        if not is_uid(uid):
            raise QueryError(
                f"{self.name} gives an answer without a valid {key}: nothing is fetched; tell the"
                " vendor of its software",
                retryable=False,
            )
        return uid

    @property
    def _association(self) -> Association:
        if self._opened is None or not self._opened.is_established:
            raise AssociationError(f"{self.name} ended the association", retryable=True)
        return self._opened

    @property
    def _provider(self) -> QueryProvider:
        return cast(QueryProvider, self._association.dimse)

    def _require(self, sop_class: str, service: str) -> None:
        """Raise QueryError unless the archive accepted the service."""
        if sop_class not in self.accepted:
            raise QueryError(
                f"{self.name} does not offer {service} to {self._destination.calling_ae_title};"
                " allow it there",
                retryable=False,
            )

    def _broken(self, provider: QueryProvider) -> AssociationError:
        if provider.fault:
            return AssociationError(
                f"{self.name} sends {provider.fault}, so the association was ended; tell the"
                " vendor of its software",
                retryable=True,
            )
        return AssociationError(
            f"{self.name} gave no answer to a query or a retrieval in time, or broke the"
            " association",
            retryable=True,
        )


class _Answers:
    """The answers to one C-FIND, within the limits; after the last one the flags are set."""

    def __init__(self, session: QuerySession, identifier: Dataset) -> None:
        self.is_cut = False
        self.unreadable = 0
        self._session = session
        self._identifier = identifier
        self._cancelled = False

    def __iter__(self) -> Iterator[Dataset]:
        session = self._session
        association, provider = session._association, session._provider
        limits = session._limits
        until = time.monotonic() + limits.seconds
        provider.on_wait = lambda: self._look(until)
        count = 0
        responses = association.send_c_find(self._identifier, FIND)
        for status, answer in responses:
            if "Status" not in status and not self.is_cut:
                raise session._broken(provider)
            code = int(status.get("Status", CANCELLED))
            if not is_pending(code):
                self._check(code, str(status.get("ErrorComment", "") or ""))
                break
            count += 1
            self._look(until)
            if count > limits.answers:
                self.is_cut = True
                self._cancel()
            if count > limits.answers + _MOST_AFTER_CANCEL:
                break
            if self._cancelled:
                continue
            if answer is None:
                # pynetdicom gives an answer that it cannot decode twice.
                self.unreadable += 1
                continue
            yield answer
        if self.is_cut:
            session._renew()

    def _look(self, until: float) -> None:
        if self._session._should_stop():
            self._cancel()
        if time.monotonic() > until:
            with suppress(AssociationError):
                self._session._association.abort()
            raise QueryError(
                f"{self._session.name} is still answering a query after"
                f" {self._session._limits.seconds:.0f} s; ask for fewer days",
                retryable=True,
            )

    def _cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            provider = self._session._provider
            self._session._association.send_c_cancel(provider.message_id, query_model=FIND)

    def _check(self, status: int, comment: str) -> None:
        """Raise QueryError for the status of a failure, and of a query that was stopped."""
        outcome = outcome_of(status)
        if self.is_cut or (outcome is Outcome.DONE and not self._cancelled):
            return
        if self._cancelled or outcome is Outcome.CANCELLED:
            raise QueryError("the query was stopped", retryable=True)
        raise QueryError(
            f"{self._session.name} refused the query: {status_text(status, comment)}",
            retryable=outcome is Outcome.RETRY,
        )


def _keys_of(query: StudyQuery, modality: str) -> dict[str, str]:
    keys = dict.fromkeys(_STUDY_KEYS, "")
    keys["StudyInstanceUID"] = query.study_instance_uid
    keys["AccessionNumber"] = query.accession_number
    keys["PatientID"] = query.patient_id
    keys["IssuerOfPatientID"] = query.issuer_of_patient_id
    keys["StudyDate"] = query.days
    keys["ModalitiesInStudy"] = modality
    return keys


def _identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    if not all(value.isascii() for value in keys.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier
