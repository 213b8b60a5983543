"""The calls of each service."""
