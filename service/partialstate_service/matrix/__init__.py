"""The Matrix protocol core: parse, verify, authorise, resolve and replay events of every room version.

Pure: no I/O, no clock, no randomness. Rules are tables per room version with links to the specification v1.19.
"""
