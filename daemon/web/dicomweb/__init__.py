"""The DICOMweb service of the web role: STOW-RS, QIDO-RS and WADO-RS for the listed clients."""
