"""Hosts that receive, claim and finish while a server, the network or a clock fails."""
