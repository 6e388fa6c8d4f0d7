"""`cxrd analyse`: the pipeline over folders, CSV and dashboard."""
