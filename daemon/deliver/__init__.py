"""The courier: deliver results, purge old files."""
