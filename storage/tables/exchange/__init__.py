"""The tables of the exchange with other systems than DICOM nodes."""
