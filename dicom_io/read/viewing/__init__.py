"""Images as a person looks at them, analysed or not: in colour, and as stored values."""
