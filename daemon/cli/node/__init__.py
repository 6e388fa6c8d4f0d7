"""Commands on the store and the state of this node."""
