"""Samples per second of the loaders, against torchvision's transforms in a DataLoader."""

from __future__ import annotations

import tempfile
import types
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.perf.hardware import hardware
from benchmarks.perf.problem import SINGLE_PROCESS
from benchmarks.perf.records import Circumstances, Hardware, Record, make_records
from benchmarks.perf.timing import interleaved
from noisybench.core import rng
from noisybench.data import Images
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.decode import Preprocess
from noisybench.data.loader import BatchOrder, Pass, Stream, TrainLoader
from noisybench.data.pixels import ImageFiles, PixelSource, ResidentPixels, StreamedPixels
from noisybench.parallel.world import World
from noisybench.spec.values import AugmentConfig

SIDE, CLASSES, PADDING = 32, 10, 4  # CIFAR's
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


class InMemory(Dataset):
    """An array of images, each made a PIL image when it is asked for, as torchvision's CIFAR10 does.

    Args:
        pixels: N×H×W×3 uint8.
        labels: N int64.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Callable):
        self._pixels, self._labels, self._transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int):
        return self._transform(Image.fromarray(self._pixels[row])), int(self._labels[row])


def measure_loaders(
    device: torch.device, *, images: list[int], batch_size: int, workers: list[int], repeats: int
) -> list[Record]:
    """Whole passes over made-up 32×32 colour images with random crop, flip and normalisation, interleaved.

    The resident loader is compared with images in memory, the streaming one with image files. Batches end on the
    device.

    Args:
        images: of a pass; each number is a problem of its own, measured one after another.
        workers: numbers of worker processes; every loader that has workers is measured with each. A loader is
            compared with the fastest of its baselines.
    """
    machine = hardware(device)
    sizes = (_measure_size(device, machine, each, batch_size, workers, repeats) for each in images)
    return [record for records in sizes for record in records]


def _measure_size(
    device: torch.device, machine: Hardware, images: int, batch_size: int, workers: list[int], repeats: int
) -> list[Record]:
    pixels = rng.generator(0, "perf-loader").integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(images, dtype=np.int64) % CLASSES
    with tempfile.TemporaryDirectory() as folder:
        names = _write_files(Path(folder), pixels, labels)
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        passes = {"resident": _passes(ResidentPixels(planes), labels, device, batch_size, workers=0)}
        memory, files = [], []
        for count in workers:
            told = f"{count} worker{'' if count == 1 else 's'}"
            streamed = StreamedPixels(ImageFiles(folder, names), Preprocess(3, SIDE, exact=SIDE), folder)
            passes[f"streaming, {told}"] = _passes(streamed, labels, device, batch_size, workers=count)
            memory.append(f"torchvision, PIL images in memory, {told}")
            passes[memory[-1]] = _baseline(InMemory(pixels, labels, _transform()), device, batch_size, count)
            files.append(f"torchvision, image files, {told}")
            passes[files[-1]] = _baseline(ImageFolder(folder, _transform()), device, batch_size, count)
        seconds = interleaved(passes, device, repeats=repeats, warmup=1)
    rates = {name: [images / each for each in times] for name, times in seconds.items()}
    best = {name: max(among, key=lambda each: np.median(rates[each])) for name, among in _rivals(passes, memory, files)}
    baselines = {name: best.get(name) for name in passes}
    setup = {"images": images, "image": SIDE, "batch": batch_size, "augmentation": "crop, flip, normalise"}
    return make_records(Circumstances("loaders", setup, machine), "samples per second", "samples/s", rates, baselines)


def _rivals(passes: Iterable[str], memory: list[str], files: list[str]) -> list[tuple[str, list[str]]]:
    """Each of noisybench's loaders with the baselines that do the same work."""
    own = [name for name in passes if name not in memory and name not in files]
    return [(name, memory if name == "resident" else files) for name in own]


def _write_files(folder: Path, pixels: np.ndarray, labels: np.ndarray) -> list[str]:
    """PNG files in a folder for each class; their names in the images' order."""
    names = []
    for number in range(CLASSES):
        (folder / str(number)).mkdir()
    for row, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        names.append(f"{label}/{row:07}.png")
        Image.fromarray(image).save(folder / names[-1])
    return names


def _passes(
    pixels: PixelSource, labels: np.ndarray, device: torch.device, batch_size: int, *, workers: int
) -> Callable[[], None]:
    """One epoch of the loader that a run uses; every call is the next epoch."""
    augment = AugmentConfig(crop_padding=PADDING, horizontal_flip=True)
    stream = Stream(
        Images(pixels, labels),
        labels,
        np.arange(len(labels)),
        Augmenter(augment, len(labels), 0, "augment", device),
        Normalizer(MEAN, STD, device, torch.float32),
        workers=workers,
    )
    world = World(SINGLE_PROCESS)
    loader = TrainLoader(stream, None, BatchOrder(batch_size, seed=0, shuffled=True), views=1, world=world)
    state = types.SimpleNamespace(epoch=0)

    def run() -> None:
        for _ in loader.batches(Pass(), epoch=state.epoch, number=0, first_step=0):
            pass
        state.epoch += 1

    return run


def _transform() -> Callable:
    return transforms.Compose(
        [
            transforms.RandomCrop(SIDE, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


def _baseline(data: Dataset, device: torch.device, batch_size: int, workers: int) -> Callable[[], None]:
    """One epoch of a DataLoader. Its workers stay from epoch to epoch: starting them is not counted."""
    loader = DataLoader(
        data,
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )

    def run() -> None:
        for images, labels in loader:
            images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    return run
