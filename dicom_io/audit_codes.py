"""Codes of audit messages: PS3.16 CID 400 to 405, and RFC 3881 where PS3.15 requires it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditCode:
    """A coded value of the audit schema (PS3.15 A.5.1 CodedValueType)."""

    value: str
    scheme: str
    meaning: str


def _dcm(value: str, meaning: str) -> AuditCode:
    return AuditCode(value, "DCM", meaning)


# Events (CID 400)
APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
AUDIT_LOG_USED = _dcm("110101", "Audit Log Used")
TRANSFER_BEGUN = _dcm("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
EXPORT = _dcm("110106", "Export")
QUERY = _dcm("110112", "Query")
SECURITY_ALERT = _dcm("110113", "Security Alert")
USER_AUTHENTICATION = _dcm("110114", "User Authentication")

# Event types (CID 401, 403)
APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
LOGIN = _dcm("110122", "Login")
NODE_AUTHENTICATION = _dcm("110126", "Node Authentication")
SOFTWARE_CONFIGURATION = _dcm("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")

# Roles of participants (CID 402)
APPLICATION = _dcm("110150", "Application")
DESTINATION = _dcm("110152", "Destination Role ID")
SOURCE = _dcm("110153", "Source Role ID")
DESTINATION_MEDIA = _dcm("110154", "Destination Media")

# Media (CID 405) and identifiers of objects (CID 404, RFC 3881)
MEDIA_URI = _dcm("110037", "URI")
STUDY_UID = _dcm("110180", "Study Instance UID")
SOP_CLASS_UID = _dcm("110181", "SOP Class UID")
NODE_ID = _dcm("110182", "Node ID")
PATIENT_NUMBER = AuditCode("2", "RFC-3881", "Patient Number")
URI = AuditCode("12", "RFC-3881", "URI")


def private_code(value: str) -> AuditCode:
    """Return the kind of an event as a private code, more precise than the types of DICOM."""
    return AuditCode(value, "99CXRD", value.replace("_", " ").capitalize())
