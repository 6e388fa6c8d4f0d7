"""Patients: changes that a registration system sends, and the present identity of each patient."""
