"""Sources of the pages: the messages of the code, and the command that makes pictures."""
