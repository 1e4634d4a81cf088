"""A contact sheet: a few images of every class, to see at a glance what a dataset holds and how it is labelled."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torchvision.utils import make_grid

from noisybench.core import rng
from noisybench.data.datasets import Dataset
from noisybench.data.decode import resized

COLUMNS = 8
LARGEST = 96  # side of a thumbnail
GAP = 2
CAPTION = 170  # pixels for the class's name


def contact_sheet(dataset: Dataset) -> Image.Image:
    """Up to eight training images of each class as labelled, drawn with a fixed key; a row for each class."""
    side = min(LARGEST, dataset.train.pixels.shape[-1])
    side = max(side, 16)
    rows = []
    for label in range(dataset.num_classes):
        members = np.flatnonzero(dataset.train.labels == label)
        chosen = np.sort(rng.generator(0, "contact-sheet", label).permutation(members)[:COLUMNS])
        row = torch.zeros(COLUMNS, 3, side, side, dtype=torch.uint8)
        if len(chosen):
            row[: len(chosen)] = resized(dataset.train.pixels.fetch(chosen), side)  # a grey image fills all channels
        rows.append(row)
    grid = make_grid(torch.cat(rows), nrow=COLUMNS, padding=GAP).permute(1, 2, 0).numpy()
    sheet = Image.new("RGB", (grid.shape[1] + CAPTION, grid.shape[0]), "white")
    sheet.paste(Image.fromarray(grid), (CAPTION, 0))
    draw = ImageDraw.Draw(sheet)
    for label, title in enumerate(dataset.card.classes):
        count = int((dataset.train.labels == label).sum())
        draw.text((4, GAP + label * (side + GAP)), f"{label} {title[:20]} ({count:,})", fill="black")
    return sheet
