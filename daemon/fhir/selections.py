"""Images, regions and heatmaps as ImagingSelection of R5 (IG: Image Region, Visual Explanation)."""

from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    URI_SYSTEM,
    Json,
    ai_asserted,
    coding,
    concept,
    narrative,
)
from daemon.fhir.identity import Entry, entry
from dicom_io.objects.codes import VISUAL_EXPLANATION
from dicom_io.report.content import ObjectReference
from dicom_io.report.reading.read_values import ReadFinding

_SOURCE_IMAGE = coding(DCM_SYSTEM, "121112", "Source of Measurement")
_IMAGE_REGION = coding(DCM_SYSTEM, "111030", "Image Region")
_EXPLANATION = coding(DCM_SYSTEM, VISUAL_EXPLANATION.value, VISUAL_EXPLANATION.meaning)


def source_image(context: ReportContext, image: ObjectReference) -> Entry:
    """Return an analysed image."""
    uid = image.sop_instance_uid
    resource = _selection(context, image, _SOURCE_IMAGE, f"Analysed image {uid}")
    return entry(context.identity.urn(f"image {uid}"), resource)


def region(context: ReportContext, finding: ReadFinding) -> Entry | None:
    """Return the outline of a finding, a closed polyline as in the report; None without one."""
    if finding.outline is None:
        return None
    title = f"{finding.tracking_identifier}: where the model looked, not a segmentation"
    resource = _selection(context, finding.image, _IMAGE_REGION, title)
    corners = [*finding.outline, finding.outline[0]]
    coordinates = [value for corner in corners for value in corner]
    resource["instance"][0]["imageRegion2D"] = [
        {"regionType": "polyline", "coordinate": coordinates}
    ]
    return entry(context.identity.urn(f"region {finding.tracking_uid}"), resource)


def heatmap(context: ReportContext, finding: ReadFinding) -> Entry | None:
    """Return the heatmap of a finding; None without one."""
    if finding.heatmap is None:
        return None
    title = f"{finding.tracking_identifier}: heatmap"
    resource = _selection(context, finding.heatmap, _EXPLANATION, title)
    return entry(context.identity.urn(f"heatmap {finding.tracking_uid}"), resource)


def _selection(context: ReportContext, of: ObjectReference, kind: Json, title: str) -> Json:
    sop_class = {"system": URI_SYSTEM, "code": f"urn:oid:{of.sop_class_uid}"}
    return {
        "resourceType": "ImagingSelection",
        "meta": ai_asserted(),
        "text": narrative([context.report.research_notice, title]),
        "status": "available",
        "subject": context.subject(),
        **context.issued(),
        **context.based_on(),
        "code": concept(kind),
        "studyUid": of.study_instance_uid,
        "derivedFrom": [context.study()],
        "seriesUid": of.series_instance_uid,
        "instance": [{"uid": of.sop_instance_uid, "sopClass": sop_class}],
    }
