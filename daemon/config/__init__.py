"""Settings: config.yaml and environment, peers, certificates, destinations."""
