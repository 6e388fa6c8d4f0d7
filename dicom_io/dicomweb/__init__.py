"""DICOMweb (PS3.18): multipart bodies, and the user agent of STOW-RS, QIDO-RS and WADO-RS."""
