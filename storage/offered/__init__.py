"""Received films and valid results as other systems may look for them and fetch them."""
