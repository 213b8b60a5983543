"""Simulated resident servers: what a resync is fed by, honestly or not."""
