"""The listener: keep a received file, queue it, answer."""
