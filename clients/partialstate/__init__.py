"""What a homeserver's frontend installs to talk to the partial-state service."""
