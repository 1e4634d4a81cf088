"""A local folder of Parquet files in the Hub's form, as memory-mapped tables that are named by what is in the files.

The files are found by their names. A README in the folder is not read: its ``data_files`` could lead anywhere.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from noisybench.core.errors import UserError, one_line
from noisybench.core.file_names import escaped
from noisybench.core.files import file_sha256
from noisybench.data.cache import cache_folder, write_cached

SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SHARD = re.compile(r"(?P<number>\d+)-of-(?P<count>\d+)\.parquet$")
ROWS = 256  # unpacked at a time
UNPACKED = 100  # times the size of a file that its columns may take: encoded images hardly pack at all
ALWAYS = 2**28  # bytes that they may take at least


def find_splits(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of the train and the test split, in order; a split without files is left out.

    A file belongs to the split that a word of its name says, else a word of the name of a folder around it.

    Raises:
        UserError: shards that the names of others count are missing.
    """
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        parts = file.relative_to(folder).parts
        if any(part.startswith(".") for part in parts):
            continue
        words = [re.split(r"[^a-z]+", part.removesuffix(".parquet").casefold()) for part in reversed(parts)]
        split = next((SPLIT_WORDS[word] for of_part in words for word in of_part if word in SPLIT_WORDS), None)
        if split is not None:
            if not os.path.isfile(file):
                raise UserError(f"{file}: no file; is it a link to nothing?")
            found.setdefault(split, []).append(file)
    for files in found.values():
        _check_shards(files)
    return found


def _check_shards(files: list[Path]) -> None:
    named = [match for match in (SHARD.search(file.name) for file in files) if match]
    for match in named:
        stem, count = match.string[: match.start()], int(match["count"])
        there = {int(other["number"]) for other in named if other.string.startswith(stem)}
        missing = next((number for number in range(min(count, len(files) + 1)) if number not in there), None)
        if missing is not None:
            width = len(match["number"])
            raise UserError(
                f"{files[0].parent}: {stem}{missing:0{width}}-of-{match['count']}.parquet is missing; {len(there)} of "
                f"{count} files are there"
            )


def read_table(files: Sequence[Path], columns: Sequence[str], where: str):
    """These columns of all files as one :class:`datasets.Dataset`, and the sha256 that names their content.

    The table is unpacked into a file of the cache, named by the content, and mapped into memory from there.

    Raises:
        UserError: a file is unreadable, lacks a column, or unpacks to more than can be true.
    """
    import datasets

    schemas = [_schema(file, columns, where) for file in files]
    schema = schemas[0]
    for file, found in zip(files, schemas, strict=True):
        if not found.equals(schema) or _features(file, found) != _features(files[0], schema):
            raise UserError(f"{file}: its columns have other types or class names than those of {files[0].name}")
    digest = hashlib.sha256("\n".join([*columns, *(file_sha256(file) for file in files)]).encode()).hexdigest()
    kept = cache_folder() / "tables" / f"{digest}.arrow"
    if not kept.is_file():
        write_cached(kept, lambda temporary: _unpack(files, schema, temporary))
    if kept.is_file():
        return datasets.Dataset.from_file(str(kept)), digest
    batches = [batch for file in files for batch in _batches(file, schema)]
    return datasets.Dataset(pa.Table.from_batches(batches, schema)), digest


def _schema(file: Path, columns: Sequence[str], where: str) -> pa.Schema:
    try:
        schema = pa.parquet.ParquetFile(file).schema_arrow
    except Exception as error:  # a damaged file raises more than Arrow's own errors
        raise UserError(f"{file}: not a readable Parquet file: {one_line(error)[:200]}") from error
    for column in columns:
        if column not in schema.names:
            raise UserError(f"{where}: no column {column!r}; found {escaped(', '.join(schema.names))}")
    return pa.schema([schema.field(column) for column in columns], schema.metadata)


def _features(file: Path, schema: pa.Schema):
    """What the columns mean: images, and labels with the names of classes."""
    import datasets

    try:
        return datasets.Features.from_arrow_schema(schema)
    except Exception as error:  # what is written in the file decides which
        raise UserError(f"{file}: the description of its columns is damaged ({one_line(error)[:200]})") from error


def _unpack(files: Sequence[Path], schema: pa.Schema, target: Path) -> None:
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for file in files:
            for batch in _batches(file, schema):
                writer.write_batch(batch)


def _batches(file: Path, schema: pa.Schema):
    """The rows of a file, some at a time.

    Raises:
        UserError: the file is damaged, or its rows take far more than the file: nothing that holds images does.
    """
    most = max(UNPACKED * file.stat().st_size, ALWAYS)
    taken = 0
    try:
        opened = pa.parquet.ParquetFile(file)
        packed = opened.metadata
        pages = (
            packed.row_group(group).column(column).total_uncompressed_size
            for group in range(packed.num_row_groups)
            for column in range(packed.num_columns)
        )
        if max(pages, default=0) > most:
            raise UserError(f"{file}: a column unpacks to more than {most:,} bytes, which no table of images does")
        for batch in opened.iter_batches(batch_size=ROWS, columns=schema.names):
            taken += batch.nbytes
            if taken > most:
                raise UserError(f"{file}: unpacks to more than {most:,} bytes, which no table of images does")
            yield pa.RecordBatch.from_arrays([batch.column(name) for name in schema.names], schema=schema)
    except UserError:
        raise
    except Exception as error:  # as above
        raise UserError(f"{file}: not a readable Parquet file: {one_line(error)[:200]}") from error
