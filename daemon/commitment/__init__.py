"""Storage commitment: requests to archives, and answers to peers."""
