"""SOP classes of queries and retrievals (PS3.4 C.6.2.3).

The audit trail names them, and is written without the DICOM libraries.
"""

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
"""Study Root Query/Retrieve Information Model, by service."""
