"""Benchmarks that speak DICOM with other nodes."""
