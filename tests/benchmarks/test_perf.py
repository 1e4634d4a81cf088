"""`python -m benchmarks`: what it measures is what it says, and what it prints is what it measured."""

from __future__ import annotations

import contextlib
import json
import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.perf.epoch import EpochPair
from benchmarks.perf.memory import peak_bytes
from benchmarks.perf.plain_allocator import plain_steps
from benchmarks.perf.problem import Size
from benchmarks.perf.records import read_records
from benchmarks.perf.references import Consistency, double_backward_mslg_step, official_meta_loss, official_mlnt_step
from benchmarks.perf.show import report
from benchmarks.perf.steps import StepsAsked
from benchmarks.perf.subjects import Bare, Subject, Variant, variants
from benchmarks.perf.timing import interleaved
from noisybench.meta import (
    LabelSteps,
    MetaBatch,
    label_meta_gradient,
    look_ahead_gradient,
    noisy_forward,
    plain_attention,
    soft_label_loss,
)
from noisybench.methods.co_teaching import CoTeaching
from noisybench.methods.losses import entropy
from noisybench.methods.mslg import MSLGSettings
from noisybench.models import NetworkSpec, create_network

CPU = torch.device("cpu")
SIZE = Size("noisybench_cnn4", batch_size=8, classes=10, side=8, rows=48)
TINY = ("--model", "noisybench_cnn4", "--image-size", "8", "--batch-size", "8", "--device", "cpu")


def small_network() -> nn.Module:
    """Four layers with BatchNorm, in float64."""
    return create_network(NetworkSpec("noisybench_cnn4", num_classes=5, channels=3, image_size=8), seed=1).double()


def drawn_batch(size: int = 12, number: int = 0):
    drawn = torch.Generator().manual_seed(number)
    images = torch.randn(size, 3, 8, 8, generator=drawn, dtype=torch.float64)
    return images, torch.randint(5, (size,), generator=drawn)


# --- timing and memory ---------------------------------------------------------------------------------------------


def test_actions_take_turns_in_reversing_order():
    seen = []
    actions = {name: lambda name=name: seen.append(name) for name in "abc"}
    times = interleaved(actions, CPU, repeats=3, warmup=1, burst=2)
    # the unmeasured round -1, then rounds 0, 1, 2
    assert "".join(seen) == "ccbbaa" + "aabbcc" + "ccbbaa" + "aabbcc"
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_peak_memory_without_a_graph_is_counted_by_hand():
    start = torch.ones(1000)

    def action():
        doubled = start * 2  # 4000 bytes
        view = doubled.view(10, 100)[1:]  # none
        del doubled
        wide = view.double()  # 900 · 8
        del view  # − 4000
        wide.add_(1)  # none
        torch.cat([wide, wide])  # 1800 · 8

    held = 4000
    assert peak_bytes(action, lambda: [start, start.view(-1)], CPU) == held + 7200 + 14400


def test_peak_memory_with_a_graph_counts_what_backward_keeps():
    weight = torch.zeros(1000, requires_grad=True)

    def action():
        weight.exp().exp().exp().sum().backward()  # exp's backward pass keeps its result

    # weight, three results, the first gradient (4000 bytes each); the loss and its gradient (4 each)
    assert peak_bytes(action, lambda: [weight], CPU) == 5 * 4000 + 8


def test_what_a_step_frees_of_what_it_started_from_is_no_longer_counted():
    weight = torch.zeros(1000, requires_grad=True)
    weight.grad = torch.ones(1000)

    def action():
        weight.grad = None
        torch.ones(500)

    assert peak_bytes(action, lambda: [weight, weight.grad], CPU) == 8000


# --- what is compared ----------------------------------------------------------------------------------------------


def assert_equal_weights(one: nn.Module, other: nn.Module):
    for (name, tensor), (_, expected) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_bare_step_is_the_methods_step(channels_last):
    ce = Subject(Variant("ce", "ce"), SIZE, CPU, channels_last=channels_last)
    bare = Bare(ce, channels_last=channels_last)
    before = ce.method.network.fc.weight.clone()
    for _ in range(3):
        ce.step()
        bare.step()
    assert not torch.equal(before, bare.network.fc.weight)
    assert_equal_weights(ce.method.network, bare.network)
    convolution = bare.network.convolutions[4].weight
    assert convolution.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_the_bare_epoch_is_the_frameworks_epoch():
    pair = EpochPair(Size("noisybench_cnn4", batch_size=16, classes=10, side=8, rows=40), CPU, epochs=2)
    for _ in range(2):
        means = pair.framework_epoch()
        pair.bare_epoch()
    assert 0 < means["loss"] < 10
    assert_equal_weights(pair.problem.method.network, pair.network)


def test_plain_names_stand_for_engines_and_references():
    names = [variant.name for variant in variants("ce, mslg,mlnt", None)]
    own = ["mslg", "mslg[engine=head]", "mslg[engine=finite-difference]", "mslg[double-backward]"]
    assert names == ["ce", *own, "mlnt", "mlnt[official]"]
    (variant,) = variants("mlnt[official;label_sets=2]", None)
    assert (variant.method, variant.settings, variant.reference) == ("mlnt", {"label_sets": 2}, "official")


def test_methods_are_measured_in_their_last_phase():
    mslg = Subject(Variant("mslg", "mslg"), SIZE, CPU)
    before = mslg.method.context.store["label_logits"].clone()
    mslg.step()
    assert not torch.equal(before, mslg.method.context.store["label_logits"])
    mlnt = Subject(Variant.parse("mlnt"), SIZE, CPU)
    mlnt.step()
    assert mlnt.method.iteration == 1 and mlnt.method.consistency_weight(mlnt.method.phase_step) > 0
    assert mlnt.method.settings.label_sets == 10


# --- references ----------------------------------------------------------------------------------------------------


def mlnt_case():
    network, (images, labels) = small_network(), drawn_batch()
    sets = torch.randint(5, (3, len(labels)), generator=torch.Generator().manual_seed(5))
    target = torch.rand(len(labels), 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64).softmax(1)

    def disagreement(logits):
        return F.kl_div(F.log_softmax(logits, dim=1), target, reduction="batchmean") / 5

    with plain_attention():
        forward = noisy_forward(network, images, update_buffers=False)
    one_hot = F.one_hot(sets, 5).double()
    expected, value = look_ahead_gradient(network, forward, LabelSteps(one_hot, 0.3), disagreement, order="second")
    return network, images, labels, sets, target, disagreement, expected, value


def test_the_official_mlnt_gradient_is_the_second_order_gradient():
    network, images, _, sets, _, disagreement, expected, value = mlnt_case()
    loss = official_meta_loss(network, images, network(images), sets, disagreement, inner_lr=0.3)
    torch.testing.assert_close(loss.detach(), value, rtol=1e-10, atol=0)
    for name, gradient in zip(expected, torch.autograd.grad(loss, list(network.parameters())), strict=True):
        torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-12)


def test_the_official_mlnt_step_descends_both_losses():
    network, images, labels, sets, target, _, expected, _ = mlnt_case()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    plain = torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    official_mlnt_step(network, optimizer, images, labels, Consistency(sets, target, inner_lr=0.3, weight=0.7))
    for (name, weight), gradient in zip(network.named_parameters(), plain, strict=True):
        torch.testing.assert_close(before[name] - weight, gradient + 0.7 * expected[name], rtol=1e-9, atol=1e-10)


def test_the_double_backward_step_is_the_engines_step():
    network, (images, labels), (meta_images, meta_labels) = small_network(), drawn_batch(), drawn_batch(7, 1)
    label_logits = 4 * F.one_hot(labels, 5).double()
    found = label_meta_gradient(
        network, images, label_logits, meta_images, meta_labels, inner_lr=0.5, label_floor=1e-10, engine="jvp"
    )
    expected = label_logits - 40 * found * found.numel() / 0.5
    assert (expected - label_logits).abs().max() > 1e-3
    before = [weight.detach().clone() for weight in network.parameters()]
    logits = network(images)
    loss = soft_label_loss(logits, expected, 1e-10) + 0.7 * entropy(logits)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    moved = double_backward_mslg_step(
        network,
        torch.optim.SGD(network.parameters(), lr=1.0),
        images,
        label_logits,
        MetaBatch.labelled(meta_images, meta_labels),
        MSLGSettings(inner_lr=0.5, kappa=40.0, entropy_weight=0.7, label_floor=1e-10),
    )
    torch.testing.assert_close(moved, expected, rtol=1e-10, atol=1e-10)
    for weight, old, gradient in zip(network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(old - weight, gradient, rtol=1e-9, atol=1e-10)


# --- the commands --------------------------------------------------------------------------------------------------


def assert_ratios_are_recomputed(file, out):
    """Median, quartiles and ratio of every record follow from the times beside it, and are what was printed."""
    entries = json.loads(file.read_text())
    medians = {
        (entry["part"], str(entry["setup"]), entry["quantity"], entry["name"]): statistics.median(entry["values"])
        for entry in entries
    }
    compared = 0
    for entry in entries:
        group = (entry["part"], str(entry["setup"]), entry["quantity"])
        assert entry["median"] == medians[*group, entry["name"]]
        assert entry["quartiles"][0] <= entry["median"] <= entry["quartiles"][1]
        if entry["baseline"] is not None:
            compared += 1
            ratio = medians[*group, entry["name"]] / medians[*group, entry["baseline"]]
            assert entry["ratio"] == ratio
            assert f"{ratio:.3f}" in out
    assert compared
    return entries


def test_steps_prints_and_files_what_it_measured(benchmarks, tmp_path):
    file = tmp_path / "perf.json"
    options = (*TINY, "--repeats", "3", "--json", file)
    code, out, err = benchmarks("steps", *options, "--methods", "ce,mslg,mlnt[official;label_sets=2],dividemix")
    assert code == 0 and not err, err
    entries = assert_ratios_are_recomputed(file, out)
    engines = ["mslg", "mslg[engine=head]", "mslg[engine=finite-difference]", "mslg[double-backward]"]
    names = ["bare CE", "bare CE, channels last", "ce", *engines, "mlnt[official;label_sets=2]", "dividemix"]
    assert [entry["name"] for entry in entries if entry["quantity"] == "step time"] == names
    assert all(len(entry["values"]) == 3 for entry in entries if entry["quantity"] == "step time")
    peaks = {entry["name"]: entry["ratio"] for entry in entries if entry["quantity"] == "peak memory"}
    assert 1 <= peaks["ce"] < 1.1 and peaks["mslg[engine=head]"] < peaks["mslg"] < peaks["mslg[double-backward]"]
    assert entries[0]["hardware"]["torch"] == torch.__version__ and entries[0]["hardware"]["gpu"] is None

    code, out, err = benchmarks("steps", *options, "--methods", "ce", "--precision", "bf16", "--channels-last")
    assert code == 0, err
    records = read_records(file)
    assert len(records) == len(entries) + 2 * 3  # appended
    ce = next(r for r in records[len(entries) :] if r.name == "ce")
    assert ce.baseline == "bare CE, channels last" and ce.setup["precision"] == "bf16"


def test_what_cannot_be_measured_is_told_and_the_rest_is_filed(benchmarks, tmp_path, monkeypatch):
    file = tmp_path / "perf.json"

    def failing_step(self, batch):
        raise RuntimeError("not in this way")

    def failing_count(*arguments):
        raise RuntimeError("cannot be\ncounted")

    monkeypatch.setattr("noisybench.methods.mslg.MSLG.training_step", failing_step)
    monkeypatch.setattr("benchmarks.perf.steps.peak_bytes", failing_count)
    options = (*TINY, "--methods", "ce,mslg", "--engines", "jvp", "--repeats", "1", "--json", file)
    code, out, _ = benchmarks("steps", *options)
    assert code == 1 and "not measured: mslg: RuntimeError: not in this way\n" in out
    assert "not measured: peak memory of ce: RuntimeError: cannot be counted\n" in out
    assert [(r.name, r.quantity) for r in read_records(file)] == [
        ("bare CE", "step time"),
        ("bare CE, channels last", "step time"),
        ("ce", "step time"),
    ]


class CrewOfNone(contextlib.nullcontext):
    """A crew whose one process is this one."""

    def __init__(self, pieces, argument, number):
        super().__init__()
        self._pieces = pieces(argument)

    def wait_until_ready(self):
        pass

    def work(self):
        return [next(self._pieces)()]


def test_what_another_process_cannot_measure_is_told_too(benchmarks, tmp_path, monkeypatch):
    def failing_step(self, batch):
        raise RuntimeError("not in this way")

    monkeypatch.setattr("noisybench.methods.mslg.MSLG.training_step", failing_step)
    monkeypatch.setattr("benchmarks.perf.plain_allocator.Crew", CrewOfNone)
    monkeypatch.setattr("benchmarks.perf.plain_allocator.keeps_freed_memory", lambda: True)
    file = tmp_path / "perf.json"
    options = (*TINY, "--methods", "ce,mslg", "--engines", "jvp", "--plain-allocator", "--repeats", "3")
    code, out, _ = benchmarks("steps", *options, "--json", file)
    assert code == 1 and "not measured: mslg: RuntimeError: not in this way\n" in out
    assert "not measured: mslg, plain allocator: RuntimeError: not in this way\n" in out
    names = ["bare CE", "bare CE, channels last", "ce"]
    times = [record.name for record in read_records(file) if record.quantity == "step time"]
    assert times == [*names, *(f"{name}, plain allocator" for name in names)]


def test_the_other_processs_steps_come_in_the_order_of_the_turns(monkeypatch):
    asked, seen = StepsAsked((Variant("ce", "ce"),), SIZE, threads=torch.get_num_threads()), []
    for kind, name in [(Bare, "bare"), (Subject, "ce")]:
        step = kind.step
        monkeypatch.setattr(kind, "step", lambda self, name=name, step=step: (seen.append(name), step(self)))
    pieces = plain_steps(asked)
    assert next(pieces)() == (["bare CE", "bare CE, channels last", "ce"], {})
    seen.clear()
    seconds = [next(pieces)() for _ in range(6)]
    assert seen == ["bare", "bare", "ce", "ce", "bare", "bare"]
    assert all(isinstance(each, float) and each > 0 for each in seconds)


def test_loaders_and_epoch_print_and_file_what_they_measured(benchmarks, tmp_path):
    file = tmp_path / "loaders.json"
    code, out, err = benchmarks("loaders", "--images", "64", "--workers", "0", "--repeats", "2", "--json", file)
    assert code == 0 and not err, err
    entries = assert_ratios_are_recomputed(file, out)
    assert [(entry["name"], entry["baseline"]) for entry in entries] == [
        ("resident", "torchvision, PIL images in memory, 0 workers"),
        ("streaming, 0 workers", "torchvision, image files, 0 workers"),
        ("torchvision, PIL images in memory, 0 workers", None),
        ("torchvision, image files, 0 workers", None),
    ]
    file = tmp_path / "epoch.json"
    code, out, err = benchmarks("epoch", *TINY, "--images", "40", "--repeats", "3", "--json", file)
    assert code == 0 and not err, err
    bare, framework = assert_ratios_are_recomputed(file, out)
    assert f"overhead of the framework: {100 * (framework['ratio'] - 1):+.1f} %" in out and bare["ratio"] is None


def test_loaders_and_epoch_measure_every_size(benchmarks, tmp_path):
    file = tmp_path / "loaders.json"
    code, out, err = benchmarks("loaders", "--images", "40,64", "--workers", "0", "--repeats", "1", "--json", file)
    assert code == 0 and not err, err
    entries = assert_ratios_are_recomputed(file, out)
    resident = [entry["setup"]["images"] for entry in entries if entry["name"] == "resident"]
    assert resident == [40, 64] and len(entries) == 8
    assert out.count("loaders:") == 1  # one table, with a column for the size
    file = tmp_path / "epoch.json"
    code, out, err = benchmarks("epoch", *TINY, "--images", "24,40", "--repeats", "2", "--json", file)
    assert code == 0 and not err, err
    entries = assert_ratios_are_recomputed(file, out)
    assert [entry["setup"]["images"] for entry in entries] == [24, 24, 40, 40]
    for framework in entries[1::2]:
        images, overhead = framework["setup"]["images"], 100 * (framework["ratio"] - 1)
        assert f"overhead of the framework, {images} images: {overhead:+.1f} %" in out


def test_scaling_measures_each_method_at_each_size(benchmarks, tmp_path, monkeypatch):
    step = CoTeaching.training_step

    def failing_step(self, batch):
        if len(batch.index) == 16:
            raise RuntimeError("too large")
        return step(self, batch)

    monkeypatch.setattr(CoTeaching, "training_step", failing_step)
    file = tmp_path / "scaling.json"
    sizes = ("--rows", "100", "--classes", "10", "--batch-sizes", "8,16", "--class-counts", "10,12")
    options = (*TINY, *sizes, "--methods", "ce,co-teaching", "--repeats", "2", "--json", file)
    code, out, err = benchmarks("scaling", *options)
    assert code == 1 and not err, err
    assert out.endswith("not measured: co-teaching, batch 16, 10 classes: RuntimeError: too large\n")
    entries = [entry for entry in assert_ratios_are_recomputed(file, out) if "rows" in entry["setup"]]
    found = [(entry["setup"]["batch"], entry["setup"]["classes"], entry["name"]) for entry in entries]
    bare_and_ce = ["bare CE", "ce"]
    assert found == [
        *((8, 10, name) for name in [*bare_and_ce, "co-teaching"]),
        *((16, 10, name) for name in bare_and_ce),
        *((8, 12, name) for name in [*bare_and_ce, "co-teaching"]),
    ]
    assert {entry["baseline"] for entry in entries if entry["name"] != "bare CE"} == {"bare CE"}


def test_scaling_states_the_label_stores_bytes(benchmarks, tmp_path):
    file = tmp_path / "scaling.json"
    sizes = ("--rows", "100,700", "--classes", "20", "--batch-sizes", "8,16", "--class-counts", "10")
    code, out, err = benchmarks("scaling", *TINY, *sizes, "--repeats", "2", "--json", file)
    assert code == 0 and not err, err
    entries = assert_ratios_are_recomputed(file, out)
    stores = {entry["name"]: entry["values"] for entry in entries if entry["quantity"] == "label store"}
    assert stores == {"mslg, 100 rows": [100 * 20 * 4], "mslg, 700 rows": [700 * 20 * 4]}
    setups = {(entry["setup"]["batch"], entry["setup"]["classes"]) for entry in entries}
    assert setups == {(8, 20), (16, 20), (8, 10)}
    assert {entry["name"] for entry in entries if "rows" in entry["setup"]} == {"bare CE", "ce", "mslg"}


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("steps", "--methods", "mslg[engine]"), "unknown reference step of mslg 'engine'"),
        (("steps", "--methods", "mslg[engine=jpv]"), "method.engine"),
        (("steps", "--methods", "mslg["), "write NAME or NAME[SETTING=VALUE]"),
        (("steps", "--engines", "jpv"), "unknown engine 'jpv': did you mean jvp?"),
        (("steps", "--precision", "fp16"), "--precision fp16: choose fp32 or bf16"),
        (("steps", "--device", "tpu"), "--device tpu: choose cpu or cuda"),
        (("steps", "--model", "resnet5"), "unknown model 'resnet5'"),
        (("steps", "--methods", "ce", "--json", "nowhere/perf.json"), "there is no folder nowhere"),
        (("loaders", "--workers", "two"), "write whole numbers separated by commas"),
        (("loaders", "--images", "64,9"), "--images 64,9: write different numbers of at least 10"),
        (("epoch", "--images", "2e3"), "--images 2e3: write whole numbers separated by commas"),
        (("scaling", "--rows", "10,10"), "write different numbers"),
        (("scaling", "--methods", "ce,mslgg"), "unknown method 'mslgg'"),
        (("scaling", "--rows", "10"), "at least a batch of 128"),
        (("report", "nothing.json"), "nothing.json: no such file"),
    ],
)
def test_bad_input_is_one_line(benchmarks, arguments, expected):
    code, out, err = benchmarks(*arguments)
    assert code == 2 and err.count("\n") == 1 and expected in err and not out, err


def entry(name, values, median, quartiles, ratio):
    return {
        "part": "steps",
        "name": name,
        "quantity": "step time",
        "unit": "s",
        "setup": {"model": "cnn", "batch": 8},
        "values": values,
        "median": median,
        "quartiles": quartiles,
        "baseline": None if ratio is None else "bare CE",
        "ratio": ratio,
        "hardware": {
            "cpu": "A processor",
            "cores": 2,
            "threads": 1,
            "gpu": None,
            "torch": "2.11.0",
            "date": "2026-01-02T03:04:05+00:00",
            "keeps_freed_memory": True,
            "load": 0.5,
        },
    }


def test_report_is_made_of_the_records_alone(tmp_path):
    file = tmp_path / "perf.json"
    bare, mslg = entry("bare CE", [0.01, 0.02, 0.03], 0.02, [0.015, 0.025], None), entry("mslg", [2], 2, [2, 2], 100.0)
    larger = {"setup": {"model": "cnn", "batch": 16}}
    file.write_text(json.dumps([bare, mslg, {**bare, **larger}, {**mslg, **larger}]))
    assert report([file]).splitlines() == [
        "A processor, cores: 2, threads: 1; torch 2.11.0; 2026-01-02T03:04:05+00:00; load 0.5; freed memory kept",
        "",
        "**steps: model cnn**",
        "",
        "| batch | steps | step time | × bare CE |",
        "|---|---|---|---|",
        "| 8 | bare CE | 20 ms (15 ms – 25 ms) |  |",
        "| 8 | mslg | 2 s | 100.000 |",
        "| 16 | bare CE | 20 ms (15 ms – 25 ms) |  |",
        "| 16 | mslg | 2 s | 100.000 |",
    ]


@pytest.mark.parametrize("change", [{"median": 0.021}, {"quartiles": [0.01, 0.025]}, {"unit": "ms"}, {"more": 1}])
def test_altered_records_are_refused(benchmarks, tmp_path, change):
    file = tmp_path / "perf.json"
    file.write_text(json.dumps([{**entry("bare CE", [0.01, 0.02, 0.03], 0.02, [0.015, 0.025], None), **change}]))
    before = file.read_bytes()
    for command in (("report", file), ("steps", *TINY, "--methods", "ce", "--json", file)):
        code, _, err = benchmarks(*command)
        assert code == 2 and err.count("\n") == 1 and "not written by `python -m benchmarks --json`" in err
    assert file.read_bytes() == before
