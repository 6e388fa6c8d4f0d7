"""Storage commitment messages, SCU and SCP."""
