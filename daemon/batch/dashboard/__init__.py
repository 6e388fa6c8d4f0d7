"""`dashboard.html`: the report of a folder as one page."""
