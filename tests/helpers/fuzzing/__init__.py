"""Odd input for every surface of the product: each case is taken, or refused in one line with exit code 2."""
