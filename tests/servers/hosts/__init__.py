"""Several hosts on this machine: each a network namespace with a name and an address."""
