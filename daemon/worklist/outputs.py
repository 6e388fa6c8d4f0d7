"""The outputs of a workitem: the objects that the destinations keep, by series."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.config.settings import Config
from dicom_io.read.header import read_header
from dicom_io.ups.workitems import ObjectReference, SeriesReference
from storage.files.spool import Spool
from storage.worklist.records import DeliveredObject, WorkitemOutput


class OutputsGoneError(Exception):
    """A result was deleted here, so that its series is not known any more."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """A destination that keeps results as DICOM objects: its AE title, or its DICOMweb address."""

    name: str
    ae_title: str = ""
    url: str = ""


def keepers_of(config: Config, source: str) -> tuple[Keeper, ...]:
    """Return the destinations that keep the results of a source as DICOM objects."""
    titles = {peer.name: peer.ae_title for peer in config.dicom_receivers}
    urls = {one.name: one.url or "" for one in config.destinations}
    return tuple(
        Keeper(name, titles.get(name, ""), urls.get(name, ""))
        for name in config.routing.destinations(source)
        if name in config.keepers
    )


def outputs_of(delivered: Sequence[DeliveredObject], spool: Spool) -> list[WorkitemOutput]:
    """Return the outputs, each by the UIDs under which its destinations keep it.

    The series is read from the object. Raises OutputsGoneError, StorageError.
    """
    outputs = []
    for one in delivered:
        if one.record.purged_at is not None:
            raise OutputsGoneError
        header = read_header(spool.read(one.record.spool_path, one.record.sha256))
        outputs.append(
            WorkitemOutput(
                one.record.study_instance_uid,
                header.series_instance_uid,
                one.sop_class_uid,
                one.kept_uid,
                one.destinations,
            )
        )
    return outputs


def series_of(
    outputs: Sequence[WorkitemOutput], keepers: Mapping[str, Keeper]
) -> tuple[SeriesReference, ...]:
    """Return the outputs as the items of an Output Information Sequence (PS3.3 table 10-3b)."""
    by_series: dict[tuple[str, str, tuple[str, ...]], list[ObjectReference]] = defaultdict(list)
    for one in outputs:
        place = one.study_instance_uid, one.series_instance_uid, one.destinations
        by_series[place].append(ObjectReference(one.sop_class_uid, one.sop_instance_uid))
    return tuple(
        SeriesReference(
            study,
            series,
            tuple(instances),
            tuple(found.ae_title for found in _known(names, keepers) if found.ae_title),
            tuple(found.url for found in _known(names, keepers) if found.url),
        )
        for (study, series, names), instances in by_series.items()
    )


def _known(names: Sequence[str], keepers: Mapping[str, Keeper]) -> list[Keeper]:
    return [keepers[name] for name in names if name in keepers]
