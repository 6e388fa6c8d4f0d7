"""The parent process of the daemon: its roles, and the store before they work."""
