"""The loop: from a configuration to a record."""
