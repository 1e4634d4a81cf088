"""How the rows of a pass are cut into batches: stated once, for the loader and for whoever counts steps."""

from __future__ import annotations


def smallest_batch(parts: int = 1) -> int:
    """The fewest rows of a last batch: two for each part that is normalised by itself, since BatchNorm needs two."""
    return 2 * parts


def num_batches(rows: int, batch_size: int, smallest: int = 2) -> int:
    """Batches of one pass. The last one may be smaller; one of fewer rows than ``smallest`` joins the one before it."""
    whole, rest = divmod(rows, batch_size)
    return whole + (rest >= smallest or (rest > 0 and whole == 0))


def rows_of_batch(position: int, rows: int, batch_size: int, smallest: int = 2) -> slice:
    """The rows of one batch of a pass, by its position in it."""
    is_last = position == num_batches(rows, batch_size, smallest) - 1
    return slice(position * batch_size, rows if is_last else (position + 1) * batch_size)
