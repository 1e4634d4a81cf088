"""What measures speed and kills runs: for people with the repository, not in the wheel."""
