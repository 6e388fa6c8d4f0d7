"""The search for studies, and the view of one study with its history."""
