"""Archives that answer queries and send films."""
