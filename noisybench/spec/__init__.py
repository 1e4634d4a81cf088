"""What a run is and what cards say, without torch."""
