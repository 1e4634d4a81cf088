"""Several processes and machines: who is there, who has gone, signals, and the sole use of a folder."""
