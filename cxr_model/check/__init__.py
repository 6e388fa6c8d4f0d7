"""Check of the picture itself: a frontal chest film, and how it is turned, mirrored, inverted."""
