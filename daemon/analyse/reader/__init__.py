"""Reader processes: the bytes of a file → a checked film ready for the network and for drawing."""
