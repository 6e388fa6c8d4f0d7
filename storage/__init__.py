"""The store: spool files, the job queue, results and exports."""
