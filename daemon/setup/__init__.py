"""Setup: answers become a config.yaml with the comments of the shipped file."""
