"""The process of a role: start, stop, loop, retry, leases."""
