"""QIDO-RS (PS3.18 10.6): studies, series and instances as DICOM JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from daemon.config.partners.dicomweb import DicomwebClientConfig
from daemon.web.dicomweb.accept import takes_json
from daemon.web.dicomweb.answers import DicomwebError, json_answer, service_url, warning
from daemon.web.dicomweb.catalogue import Catalogue
from daemon.web.dicomweb.query import MOST_RESULTS, Level, Query, read_query
from dicom_io.dicomweb.attributes import DicomJson, dicom_json
from dicom_io.dicomweb.multipart import DICOM_JSON
from storage.offered.records import OfferedInstance, OfferedStudy

_UTF_8 = "ISO_IR 192"
_PAGE = 50
"""Studies that a search for series or instances reads at once."""
_MOST_STUDIES = 1000
"""Studies that such a search looks through."""
_NOT_FUZZY = (
    "The fuzzymatching parameter is not supported. Only literal matching has been performed."
)
_MORE = "There are more results: ask for them by offset."
_TOO_WIDE = "Only the first studies were searched: give conditions on the study."


class Searches:
    """Answers searches. Each waits for the store, so it runs in a thread."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def answer(
        self,
        request: Request,
        client: DicomwebClientConfig,
        level: Level,
        study: str | None = None,
        series: str | None = None,
    ) -> tuple[Response, int]:
        """Return the answer, and the number of results in it.

        `study` and `series` are those of the path. Raises DicomwebError or StorageError.
        """
        if not takes_json(request.headers.get("accept", "")):
            raise DicomwebError(406, f"the results of a search are {DICOM_JSON}: accept it")
        query = read_query(request.scope["query_string"], level)
        url = service_url(request)
        found = _Results(self._catalogue, client.sources, query, url, study, series)
        matches = found.studies() if level is Level.STUDY else found.below(level)
        results = list(islice(matches, query.limit + 1))
        headers: dict[str, str] = {}
        if query.is_fuzzy:
            headers = warning(_NOT_FUZZY)
        elif len(results) > query.limit:
            headers = warning(_MORE)
        elif found.is_cut:
            headers = warning(_TOO_WIDE)
        results = results[: query.limit]
        return json_answer(results, headers=headers), len(results)


class _Results:
    """The results of one search, read as they are asked for."""

    def __init__(
        self,
        catalogue: Catalogue,
        sources: tuple[str, ...],
        query: Query,
        url: str,
        study: str | None,
        series: str | None,
    ) -> None:
        self._catalogue = catalogue
        self._sources = sources
        self._query = query
        self._url = url
        self._study = study
        self._series = series
        self.is_cut = False

    def studies(self) -> Iterator[DicomJson]:
        """Yield the studies."""
        found = self._catalogue.studies(
            self._sources,
            self._query.study,
            offset=self._query.offset,
            limit=min(self._query.limit, MOST_RESULTS) + 1,
        )
        for one, instances in self._with_instances(found):
            series = {each.series_instance_uid for each in instances}
            yield dicom_json(
                {
                    **self._of_study(one),
                    "RetrieveURL": f"{self._url}/studies/{one.study_instance_uid}",
                    "NumberOfStudyRelatedSeries": len(series),
                    "NumberOfStudyRelatedInstances": len(instances),
                }
            )

    def below(self, level: Level) -> Iterator[DicomJson]:
        """Yield the series or the instances, after the offset."""
        found = self._series_of_all() if level is Level.SERIES else self._instances_of_all()
        return islice(found, self._query.offset, None)

    def _series_of_all(self) -> Iterator[DicomJson]:
        for study, instances in self._all_studies():
            by_series: dict[str, list[OfferedInstance]] = {}
            for one in instances:
                by_series.setdefault(one.series_instance_uid, []).append(one)
            for uid, within in by_series.items():
                if self._is_wanted_series(within[0]):
                    url = f"{self._url}/studies/{study.study_instance_uid}/series/{uid}"
                    yield dicom_json(
                        {
                            **self._named(study),
                            **_of_series(within[0]),
                            "RetrieveURL": url,
                            "NumberOfSeriesRelatedInstances": len(within),
                        }
                    )

    def _instances_of_all(self) -> Iterator[DicomJson]:
        query = self._query
        for study, instances in self._all_studies():
            for one in instances:
                if (
                    self._is_wanted_series(one)
                    and (not query.instances or one.sop_instance_uid in query.instances)
                    and (not query.classes or one.sop_class_uid in query.classes)
                ):
                    uid, series = one.study_instance_uid, one.series_instance_uid
                    address = f"/studies/{uid}/series/{series}/instances/{one.sop_instance_uid}"
                    yield dicom_json(
                        {
                            **self._named(study),
                            **_of_series(one),
                            "SOPClassUID": one.sop_class_uid,
                            "SOPInstanceUID": one.sop_instance_uid,
                            "InstanceAvailability": "ONLINE",
                            "RetrieveURL": f"{self._url}{address}",
                        }
                    )

    def _is_wanted_series(self, one: OfferedInstance) -> bool:
        query = self._query
        return (
            self._series in (None, one.series_instance_uid)
            and (not query.series or one.series_instance_uid in query.series)
            and (not query.modalities or one.modality in query.modalities)
        )

    def _all_studies(self) -> Iterator[tuple[OfferedStudy, Sequence[OfferedInstance]]]:
        match = self._query.study
        if self._study is not None:
            if match.study_instance_uids and self._study not in match.study_instance_uids:
                return
            match = replace(match, study_instance_uids=(self._study,))
        for offset in range(0, _MOST_STUDIES, _PAGE):
            found = self._catalogue.studies(self._sources, match, offset=offset, limit=_PAGE)
            yield from self._with_instances(found)
            if len(found) < _PAGE:
                return
        self.is_cut = True

    def _with_instances(
        self, studies: Sequence[OfferedStudy]
    ) -> Iterator[tuple[OfferedStudy, Sequence[OfferedInstance]]]:
        uids = {study.study_instance_uid for study in studies}
        instances = self._catalogue.instances(self._sources, uids) if uids else []
        for study in studies:
            within = [
                one
                for one in instances
                if (one.source, one.study_instance_uid) == (study.source, study.study_instance_uid)
            ]
            if within:
                yield study, within

    def _of_study(self, study: OfferedStudy) -> dict[str, object]:
        """Return the attributes of PS3.18 table 10.6.3-3; those unknown here are empty."""
        return {
            "SpecificCharacterSet": _UTF_8,
            "StudyDate": study.study_date,
            "StudyTime": "",
            "AccessionNumber": study.accession_number,
            "InstanceAvailability": "ONLINE",
            "ModalitiesInStudy": study.modalities,
            "ReferringPhysicianName": "",
            "PatientName": study.patient_name,
            "PatientID": study.patient_id,
            "PatientBirthDate": study.patient_birth_date,
            "PatientSex": study.patient_sex,
            "StudyInstanceUID": study.study_instance_uid,
            "StudyID": "",
        }

    def _named(self, study: OfferedStudy) -> dict[str, object]:
        """Return the attributes of the study: all of a search without a study in its path."""
        if self._study is None:
            return self._of_study(study)
        return {
            "SpecificCharacterSet": _UTF_8,
            "StudyInstanceUID": study.study_instance_uid,
        }


def _of_series(one: OfferedInstance) -> dict[str, object]:
    return {"Modality": one.modality, "SeriesInstanceUID": one.series_instance_uid}
