"""Suites: a board's card expanded to runs; shared between workers, resumed, and filed."""
