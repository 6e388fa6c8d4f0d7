"""Workitems of worklist managers: found, claimed, performed, and completed or canceled."""
