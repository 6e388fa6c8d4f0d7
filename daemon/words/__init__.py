"""Findings, notes, reasons and names of patients in plain words, for people who read results."""
