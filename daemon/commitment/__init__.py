"""Storage commitment, asked for and answered."""
