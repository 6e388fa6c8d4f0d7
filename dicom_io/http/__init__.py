"""HTTP requests to a partner, in bounded time and memory; for DICOMweb and other interfaces."""
