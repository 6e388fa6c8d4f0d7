"""Finds the earlier studies of a patient at an archive, and orders those that are not here."""

import datetime
from collections.abc import Callable

from daemon.config.peers import PeerConfig
from daemon.config.products import MOST_PRIORS
from daemon.config.settings import Config
from daemon.retrieve.pulling import find
from dicom_io.query.values import FoundStudy, StudyQuery, is_day
from storage.patients.patient import is_placeholder
from storage.records import PRIORS_OF, RetrievalPurpose, StudyKey, StudyResults
from storage.store import Store

_MODALITIES = ("CR", "DX")


def order_priors(
    config: Config, store: Store, peer: PeerConfig, study_uid: str, should_stop: Callable[[], bool]
) -> int:
    """Order the youngest earlier studies of a study's patient; return how many.

    A study that is reported here is not fetched again. Raises QueryError and AssociationError.
    """
    study = store.results.study(study_uid, peer.effective_source)
    query = _query(study)
    if query is None:
        return 0
    asker = f"{PRIORS_OF}{study_uid}"
    found = find(config, store, peer, query, asker, should_stop)
    fitting = [one for one in found.studies if _fits(one, query, study_uid)]
    fitting.sort(key=lambda one: (one.study_date, one.study_time), reverse=True)
    wanted = [
        one.study_instance_uid
        for one in fitting[:MOST_PRIORS]
        if not _is_reported(store, StudyKey(peer.effective_source, one.study_instance_uid))
    ]
    if wanted:
        store.retrievals.order(peer.name, wanted, RetrievalPurpose.PRIOR, asker)
    return len(wanted)


def _query(study: StudyResults) -> StudyQuery | None:
    """Return the query for the patient's earlier studies; None if it cannot be asked."""
    films = [item for item in study.instances if not item.is_rejected]
    numbers = {(item.patient_id, item.issuer_of_patient_id or "") for item in films}
    date = min((item.study_date for item in films), default="")
    if len(numbers) != 1 or not is_day(date):
        return None
    [(patient_id, issuer)] = numbers
    before = datetime.date.fromisoformat(date) - datetime.timedelta(days=1)
    if is_placeholder(patient_id):
        return None
    try:
        return StudyQuery(
            patient_id=patient_id,
            issuer_of_patient_id=issuer,
            last_day=f"{before:%Y%m%d}",
            modalities=_MODALITIES,
        )
    except ValueError:
        return None


def _fits(found: FoundStudy, query: StudyQuery, study_uid: str) -> bool:
    """Return True if the archive's answer is of the patient, and earlier."""
    issuers = {found.issuer_of_patient_id, query.issuer_of_patient_id} - {""}
    return (
        found.patient_id == query.patient_id
        and len(issuers) <= 1
        and is_day(found.study_date)
        and found.study_date <= query.last_day
        and found.study_instance_uid != study_uid
    )


def _is_reported(store: Store, key: StudyKey) -> bool:
    return bool(store.results.study(key.study_instance_uid, key.source).reports)
