"""How costs grow: methods' steps with the batch and the classes, MSLG's with the rows of its label store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from benchmarks.perf.problem import Size
from benchmarks.perf.records import Circumstances, Hardware, Record, make_records
from benchmarks.perf.steps import GPU_BURST, WARMUP, Measured, warm_up
from benchmarks.perf.subjects import Bare, Subject, Variant
from benchmarks.perf.timing import interleaved
from noisybench.methods.mslg import MSLG
from noisybench.methods.store import SampleStore

MSLG_STEP = Variant("mslg", "mslg")
UPDATE_BURST = 100  # reading and writing a batch's rows takes microseconds


def measure_rows(size: Size, device: torch.device, machine: Hardware, *, rows: list[int], repeats: int) -> list[Record]:
    """MSLG over train sets of several sizes, interleaved: reading and updating label rows, whole steps, and memory.

    Compared with the smallest set's; the step also stands beside the bare loop's.
    """
    ce = Subject(Variant("ce", "ce"), size, device)
    subjects = {_rows_name(count): Subject(MSLG_STEP, replace(size, rows=count), device) for count in rows}
    methods: dict[str, MSLG] = {name: subject.method for name, subject in subjects.items()}
    updates = {
        name: partial(update_rows, methods[name].context.store, subject.batches[0].index)
        for name, subject in subjects.items()
    }
    stored = {name: [float(method.context.store["label_logits"].nbytes)] for name, method in methods.items()}
    steps: dict[str, Callable] = {"bare CE": Bare(ce).step, **{name: each.step for name, each in subjects.items()}}
    burst = GPU_BURST if device.type == "cuda" else 1
    setup = {"model": size.model, "batch": size.batch_size, "classes": size.classes, "image": size.side}
    under = Circumstances("scaling", setup, machine)
    smallest = _rows_name(min(rows))
    over_smallest = {name: None if name == smallest else smallest for name in subjects}
    over_bare = {name: None if name == "bare CE" else "bare CE" for name in steps}
    update_times = interleaved(updates, device, repeats=repeats, warmup=1, burst=UPDATE_BURST)
    step_times = interleaved(steps, device, repeats=repeats, warmup=WARMUP, burst=burst)
    return [
        *make_records(under, "step time", "s", step_times, over_bare),
        *make_records(under, "label rows, read and update", "s", update_times, over_smallest),
        *make_records(under, "label store", "bytes", stored, over_smallest),
    ]


def measure_sizes(
    chosen: list[Variant], sizes: list[Size], device: torch.device, machine: Hardware, *, repeats: int
) -> Measured:
    """Methods' steps over the bare loop's for problems of several sizes; at each size all are interleaved.

    Raises:
        UserError: a method cannot be built.
    """
    records, failed = [], {}
    for size in sizes:
        subjects: dict[str, Subject | Bare] = {"bare CE": Bare(Subject(Variant("ce", "ce"), size, device))}
        for variant in chosen:
            subject = Subject(variant, size, device)
            reason = warm_up(subject, device)
            if reason is None:
                subjects[variant.name] = subject
            else:
                failed[f"{variant.name}, batch {size.batch_size}, {size.classes} classes"] = reason
        burst = GPU_BURST if device.type == "cuda" else 1
        steps = {name: subject.step for name, subject in subjects.items()}
        times = interleaved(steps, device, repeats=repeats, warmup=WARMUP, burst=burst)
        setup = {
            "model": size.model,
            "batch": size.batch_size,
            "classes": size.classes,
            "image": size.side,
            "rows": size.rows,
        }
        baselines = {name: None if name == "bare CE" else "bare CE" for name in steps}
        records += make_records(Circumstances("scaling", setup, machine), "step time", "s", times, baselines)
    return Measured(records, failed)


def update_rows(store: SampleStore, index: torch.Tensor) -> None:
    """Read a batch's label logits and write them back moved, as MSLG's step does."""
    label_logits = store.read("label_logits", index)
    store.write("label_logits", index, label_logits - 1e-3 * label_logits)


def _rows_name(count: int) -> str:
    return f"mslg, {count:,} rows"
