"""Storage commitment requests and inquiries."""
