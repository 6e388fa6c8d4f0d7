"""The AI reports on earlier studies of a patient, for a destination that wants comparison."""

import logging
from collections.abc import Iterable, Sequence

from daemon.config.picture_form import PictureForm
from daemon.report.study_report import ReadFile
from dicom_io.errors import ObjectError
from dicom_io.report.content import PriorReport
from dicom_io.report.reading.priors import prior_report
from dicom_io.report.reading.reader import read_report
from storage.errors import IntegrityError, SpoolError, SpoolUnavailableError
from storage.records import ObjectRecord

log = logging.getLogger("analyst")


def read_priors(
    found: Iterable[Sequence[ObjectRecord]], form: PictureForm, read: ReadFile
) -> list[PriorReport]:
    """Return the earlier reports, each in the form that a destination of this form has.

    A damaged or missing one is left out. Raises StorageError if no file can be read now.
    """
    priors = []
    for forms in found:
        record = next((one for one in forms if one.form == form.name), forms[0])
        try:
            priors.append(prior_report(read_report(read(record.spool_path, record.sha256))))
        except SpoolUnavailableError:
            raise
        except (IntegrityError, SpoolError, ObjectError) as error:
            log.warning("a report does not name a report on an earlier study: %s", error)
    return priors
