"""Servers and clients of DICOMweb on loopback."""
