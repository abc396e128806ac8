"""A small client of the protocol that can be told to be wrong."""
