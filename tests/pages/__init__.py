"""Sources and tests of pages, and the command that makes their pictures."""
