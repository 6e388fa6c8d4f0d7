"""Films in the pages: pictures, overlays, stored pixels, and the viewer."""
