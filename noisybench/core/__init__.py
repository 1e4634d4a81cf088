"""What everything else stands on: errors, files, keyed randomness, exact shares, the machine, the console."""
