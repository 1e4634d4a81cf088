"""Reading W&B's own run file (run-ID.wandb), which the client writes offline and `wandb sync` sends.

It is LevelDB's log format behind a header of 7 bytes: blocks of 32 KiB, in them pieces of records, each with a checksum
(4 bytes), a length (2) and a type (1: whole, 2: first, 3: middle, 4: last piece). A record is a protobuf message.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER = 7
BLOCK = 32 * 1024


def read_records(file: Path) -> list:
    """The messages (``wandb_internal_pb2.Record``) of a run file, in order."""
    from wandb.proto import wandb_internal_pb2

    content = file.read_bytes()
    assert content[:4] == b":W&B"
    records, parts, place = [], b"", HEADER
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        if kind == 0:
            break
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records
