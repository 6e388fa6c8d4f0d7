"""Orders to fetch studies from archives."""
