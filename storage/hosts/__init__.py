"""The state that the hosts of one store share: roles, and sessions and tokens of the pages."""
