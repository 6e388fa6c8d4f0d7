"""The decision whether an image may be analysed, with its reason."""
