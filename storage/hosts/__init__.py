"""The state that the hosts of one store share: their roles."""
