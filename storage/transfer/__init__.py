"""The move of a store to another database: copied, compared row by row, then switched."""
