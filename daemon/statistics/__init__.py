"""The figures of all films: counted in the background, kept small, watched for drift."""
