"""The log on stderr: its formats, its levels, and no patient data in it."""
