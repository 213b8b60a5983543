"""The figures of the project, measured: `make bench`, or `make bench ONLY=prefix` for a part."""
