"""The seven kinds of extension: what each is called, where it is registered, and what an entry must be."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

# Sources of datasets that are no layouts: they read no folder of a user, or not only.
BUILT_IN = ("digits", "synthetic")
HUB = "hub"


@dataclass(frozen=True)
class Kind:
    """One kind of extension.

    Attributes:
        name: what messages call one, and what the registry is asked for.
        group: its entry-point group.
        what: what an entry must be, in words.
        base: ``module:Class`` of what it must be a subclass or an instance of. It is named, not imported: base classes
            live above this module. None for functions.
        subclass: whether a subclass of ``base`` is wanted, else an instance.
        takes: the arguments that a function is called with, by position.
        reserved: names that noisybench uses in the same place, for something else.
        keywords: the arguments that a function must take by name.
        check_name: ``module:function`` that is asked before an extension of another package is imported whether its
            name may be; it gives a reason against it, or None.
    """

    name: str
    group: str
    what: str
    base: str | None = None
    subclass: bool = False
    takes: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    check_name: str | None = None

    @property
    def plural(self) -> str:
        return f"{self.name}s"

    def reason_against(self, found: object, target: str) -> str | None:
        """Why an object is no extension of this kind; None if it is one."""
        if self.base is None:
            fits = callable(found) and _takes(found, len(self.takes), self.keywords)
        else:
            base = imported(self.base)
            fits = isinstance(found, type) and issubclass(found, base) if self.subclass else isinstance(found, base)
        if fits and inspect.isabstract(found):
            return f"is {target}, which lacks {', '.join(sorted(getattr(found, '__abstractmethods__', ())))}"
        return None if fits else f"is {target}, which is not {self.what}"


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "method",
            "noisybench.methods",
            "a subclass of noisybench.methods.Method",
            base="noisybench.methods.base:Method",
            subclass=True,
        ),
        Kind(
            "noise",
            "noisybench.noises",
            "an object of noisybench.noise.NoiseKind",
            base="noisybench.noise.request:NoiseKind",
        ),
        Kind(
            "schedule",
            "noisybench.schedules",
            "a function of (base, schedule, epoch, epochs)",
            takes=("base", "schedule", "epoch", "epochs"),
        ),
        Kind(
            "model",
            "noisybench.models",
            "a function that makes a network, as timm's are: (pretrained=False, num_classes=…, in_chans=…, **others)",
            keywords=("pretrained", "num_classes", "in_chans", "others"),
            check_name="noisybench.models.create:reason_against_name",
        ),
        Kind(
            "layout",
            "noisybench.layouts",
            "a function of (card, root, checked, report)",
            takes=("card", "root", "checked", "report"),
            reserved=(*BUILT_IN, HUB),
        ),
        Kind(
            "tracker",
            "noisybench.trackers",
            "a subclass of noisybench.train.trackers.Tracker",
            base="noisybench.train.trackers:Tracker",
            subclass=True,
        ),
        Kind(
            "augmentation",
            "noisybench.augmentations",
            "a subclass of noisybench.data.augmentations.Augmentation",
            base="noisybench.data.augmentations.base:Augmentation",
            subclass=True,
        ),
    )
}


def imported(target: str) -> Any:
    """What ``module:attribute`` names; the module itself without an attribute."""
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
    return found


def _takes(function: Any, count: int, keywords: tuple[str, ...]) -> bool:
    try:
        signature = inspect.signature(function)
        if not keywords:  # then those that can only be given by name are the function's settings
            by_place = [each for each in signature.parameters.values() if each.kind is not each.KEYWORD_ONLY]
            signature = signature.replace(parameters=by_place)
        signature.bind(*[None] * count, **dict.fromkeys(keywords))
    except (TypeError, ValueError):
        return False
    return True
