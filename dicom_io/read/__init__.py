"""Received bytes to headers and display-true grey images."""
