"""The daemon: commands and the roles that carry an image from the PACS and back."""
