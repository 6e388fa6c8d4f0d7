"""Transfer syntaxes: the two that every program knows, and all that are taken in."""

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import ALL_TRANSFER_SYNTAXES

# What every DICOM program reads and writes.
PLAIN_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))

# Everything known, so that nothing has to be transcoded to be sent here.
RECEIVABLE_SYNTAXES = frozenset((*PLAIN_SYNTAXES, *map(str, ALL_TRANSFER_SYNTAXES)))
