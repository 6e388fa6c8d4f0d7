"""Pages for administrators: jobs, audit trail, configuration and model."""
