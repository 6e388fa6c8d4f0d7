"""Tests of dicom_io.query."""
