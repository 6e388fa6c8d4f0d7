"""The page of statistics and its JSON twin."""
