"""Secondary Captures, presentation states and segmentations; UIDs and codes."""
