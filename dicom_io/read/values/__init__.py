"""The numbers of pixels: their layout, their sample bits, and tables over them."""
