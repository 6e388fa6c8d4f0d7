"""SOP classes, well-known instances, Action Types and codes of UPS (PS3.4 CC.3, PS3.16)."""

from dicom_io.ups.workitems import Code

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
UPS_WATCH = "1.2.840.10008.5.1.4.34.6.2"
UPS_PULL = "1.2.840.10008.5.1.4.34.6.3"
UPS_EVENT = "1.2.840.10008.5.1.4.34.6.4"
UPS_QUERY = "1.2.840.10008.5.1.4.34.6.5"
"""The classes that an association is opened for; each message names UPS Push (PS3.4 CC.3.1)."""

GLOBAL_SUBSCRIPTION = "1.2.840.10008.5.1.4.34.5"
"""The well-known instance that stands for all workitems (PS3.4 CC.2.3.2)."""

CHANGE_STATE, REQUEST_CANCEL, SUBSCRIBE, UNSUBSCRIBE = 1, 2, 3, 4
"""Action Type IDs (PS3.4 tables CC.2.1-1 to CC.2.3-1)."""

UNSPECIFIED_REASON = Code("110513", "DCM", "Discontinued for unspecified reason")
"""The reason for a cancellation that names none (PS3.16 CID 9300)."""
