"""DICOM: receiving, reading, judging, building and sending objects."""
