"""The worklists and their workitems."""
