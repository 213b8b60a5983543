"""The resync: sources, fetching, verification, replay and the workers that never give up."""
