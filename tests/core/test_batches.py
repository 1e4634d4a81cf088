"""How a pass is cut: against cutting it row by row."""

from __future__ import annotations

import pytest

from noisybench.core.batches import num_batches, rows_of_batch


@pytest.mark.parametrize("smallest", [2, 4, 6])
def test_every_row_is_in_one_batch(smallest):
    for rows in range(1, 40):
        for size in range(1, 12):
            cut = [list(range(start, min(start + size, rows))) for start in range(0, rows, size)]
            if len(cut) > 1 and len(cut[-1]) < min(smallest, size):
                cut[-2:] = [cut[-2] + cut[-1]]
            assert num_batches(rows, size, smallest) == len(cut)
            found = [list(range(rows))[rows_of_batch(position, rows, size, smallest)] for position in range(len(cut))]
            assert found == cut
