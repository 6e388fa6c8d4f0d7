"""DICOMweb: multipart bodies and the user agent."""
