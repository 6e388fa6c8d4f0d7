"""Findings, notes, reasons, deliveries and names in plain words, for people who read results."""
