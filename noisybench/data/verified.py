"""Decoding every image once before a streamed set is trained on, and remembering that it went well."""

from __future__ import annotations

import hashlib

from noisybench.data.hub import cache_folder
from noisybench.data.source import StreamedPixels, refuse_broken
from noisybench.files import write_json


def check_once(pixels: StreamedPixels, key: str) -> None:
    """Decode all images, unless that was done before for this content in this place.

    The memory of it is a small file in the cache folder. A file changed later without a change of its size is found
    when it is read for training.

    Args:
        key: names the content.

    Raises:
        UserError: some images cannot be decoded.
    """
    name = hashlib.sha256(f"{pixels.where}\n{key}".encode()).hexdigest()
    marker = cache_folder() / "checked" / f"{name}.json"
    if marker.is_file():
        return
    refuse_broken(pixels.where, pixels.broken(), len(pixels))
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_json(marker, {"images": len(pixels), "where": pixels.where})
    except OSError:
        return  # the next run decodes everything again, nothing else
