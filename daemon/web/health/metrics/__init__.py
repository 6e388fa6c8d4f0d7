"""/metrics: the health of this host, the queue of its store, and counters of the audit trail."""
