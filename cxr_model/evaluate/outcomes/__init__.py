"""Figures and curves of predictions whose outcomes a table says."""
