"""The pure heart: identifiers, rooms, endpoints, decisions. Imports the standard library only."""
