"""Peers and DICOM TLS."""
