"""What a training step must not do, whatever the method: wait for the device, or keep what nobody needs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from benchmarks.perf.memory import peak_bytes
from benchmarks.perf.problem import Problem, Size
from benchmarks.perf.subjects import Subject, Variant
from noisybench.spec import registry
from noisybench.train.progress_made import BegunEpoch

CPU = torch.device("cpu")
SIZE = Size("noisybench_cnn4", batch_size=8, classes=10, side=8, rows=200)

# What makes Python know a value: on a GPU it would wait until all work before is done.
READS = {
    *("item", "tolist", "numpy", "cpu", "__array__", "__bool__", "__float__", "__int__", "__index__", "equal"),
    *("allclose", "nonzero", "argwhere", "masked_select", "unique"),
}
# What some methods read all the same, and why.
KNOWN_READS = {
    "co-teaching-plus": {"__bool__", "nonzero"},  # the networks train on the samples they disagree on: how many?
    "dividemix": {"__float__"},  # two counts that live on the host
    "meta-weight-net": {"item"},  # Adam's count of steps, which lives on the host
    "metalabelnet": {"item"},  # likewise
    "mlc": {"item"},  # likewise
    "t-revision": {"item"},  # likewise
}


class Reads(TorchFunctionMode):
    """Collects the names of operations by which the host reads a tensor's values."""

    def __init__(self):
        super().__init__()
        self.found: set[str] = set()

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        name = getattr(function, "__name__", "")
        if name in READS:
            self.found.add(name)
        if name in ("__getitem__", "__setitem__"):
            places = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            if any(isinstance(place, Tensor) and place.dtype == torch.bool for place in places):
                self.found.add("nonzero")  # a mask's result has a size that the host must learn
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("item", lambda values: values.sum().item()),
        ("__bool__", lambda values: bool(values.any())),
        ("tolist", lambda values: values.tolist()),
        ("cpu", lambda values: values.cpu()),
        ("numpy", lambda values: values.numpy()),
        ("nonzero", lambda values: values[values > 0]),
        (None, lambda values: values[torch.tensor([0, 1])].mean()),
    ],
)
def test_reads_are_seen(name, action):
    with Reads() as reads:
        action(torch.ones(3))
    assert reads.found == ({name} if name else set())


@pytest.mark.parametrize("name", registry.method_names())
def test_a_step_waits_for_nothing_and_keeps_no_gradient(name):
    subject = Subject(Variant.parse(name), SIZE, CPU)
    subject.step()
    with Reads() as reads:
        subject.step()
    assert reads.found == KNOWN_READS.get(name, set())
    parameters = [weight for module in subject.method.modules().values() for weight in module.parameters()]
    assert parameters and all(weight.grad is None for weight in parameters)


def test_a_label_table_takes_what_its_entries_take():
    rows, classes = 300, 40
    problem = Problem("mslg", {}, Size("noisybench_cnn4", batch_size=8, classes=classes, side=8, rows=rows), CPU)
    context = problem.method.context
    assert context.store["label_logits"].nbytes == rows * classes * 4
    assert torch.equal(context.one_hot_labels(), F.one_hot(context.given_labels, classes).float())
    labels = rows * 8  # int64
    assert peak_bytes(context.one_hot_labels, lambda: [context.given_labels], CPU) == labels + rows * classes * 4


def test_an_epoch_with_its_loader_and_meter_waits_for_nothing():
    problem = Problem("mslg", {"warmup_epochs": 0}, SIZE, CPU)
    session = problem.session
    meter, begun = session.new_meter(), BegunEpoch(0, session.begin_epoch(0))
    with Reads() as reads:
        for step in session.steps(0, begun):
            meter.add(step.batch, step.output)
    assert step.done == 1 and reads.found == set()
