"""CSV files that people give, as rows of text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from noisybench.core.errors import UserError, one_line
from noisybench.core.file_names import escaped
from noisybench.core.files import open_regular


def read_rows(file: Path, source: str) -> tuple[list[str], list[dict[str, str]]]:
    """The columns' names, and the rows: cells without spaces around them, '' where one is missing.

    A byte-order mark, as spreadsheets write it, is no part of the first column's name.

    Args:
        source: what to call the file in a message.

    Raises:
        UserError: it is missing, unreadable, not in UTF-8, or a row has more cells than there are columns.
    """
    try:
        with open_regular(file) as opened:
            text = io.TextIOWrapper(opened, newline="", encoding="utf-8-sig")
            reader = csv.DictReader(text, restval="", skipinitialspace=True)
            columns = [escaped((name or "").strip()) for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = []
            for row in reader:
                if None in row:
                    raise UserError(
                        f"{source}: line {reader.line_num} has {len(columns) + len(row[None])} cells and the header "
                        f"{len(columns)}: put text that holds a comma in double quotes"
                    )
                rows.append({name: cell.strip() for name, cell in row.items()})
    except FileNotFoundError as error:
        raise UserError(f"{source}: no such file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not in UTF-8 (byte {error.start + 1} of the file): save it as UTF-8") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{source}: not a readable CSV file ({one_line(error)})") from error
    return columns, rows
