"""Tables, their versions, transactions."""
