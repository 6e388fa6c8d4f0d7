"""Other systems than DICOM nodes: who receives results there, and how."""
