"""HTTP requests to partners that answer well, badly, slowly or without end."""
