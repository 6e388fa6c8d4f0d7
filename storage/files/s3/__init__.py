"""A spool in a bucket of an S3 service."""
