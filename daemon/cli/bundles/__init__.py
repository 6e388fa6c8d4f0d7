"""Commands of `cxrd model`."""
