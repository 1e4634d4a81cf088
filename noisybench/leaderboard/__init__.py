"""Boards: from run records to tables and pages. Everything shown is a pure function of the records and the cards."""
