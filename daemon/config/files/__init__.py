"""Files of the configuration: its YAML, and the permissions of all that the node trusts."""
