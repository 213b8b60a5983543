"""The partial-state service: owns, resyncs and answers for the partial-state rooms of a homeserver."""
