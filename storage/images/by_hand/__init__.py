"""Acts of operators on studies: what they saw, and work that is requested again."""
