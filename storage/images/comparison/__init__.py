"""Earlier studies of a patient, for comparison."""
