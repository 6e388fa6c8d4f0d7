"""Jobs: claim, lease, retry, state changes."""
