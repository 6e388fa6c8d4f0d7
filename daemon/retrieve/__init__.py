"""Studies fetched from archives: by hand, for reports, and for workitems."""
