"""A simulated part of the federation on loopback: signed rooms, resident servers, a reference frontend, the demo.

Everything here speaks real HTTPS with real signatures. It is what `partialstate demo` shows and what tests and
benchmarks run the service against; the service itself imports nothing of it.
"""
