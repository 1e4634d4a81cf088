"""What an augmentation is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor

from noisybench.data.augmentations.draws import Draws
from noisybench.spec import values


class Augmentation(ABC):
    """One augmentation. Subclass it, and register the class in the entry-point group ``noisybench.augmentations``.

    Users switch it on by ``augment.extra.NAME = { … }``, a table of its settings.

    Class attributes:
        Settings: its settings, with a default each; a subclass of :class:`noisybench.spec.values.Settings`.
        order: smaller ones are applied first, of equal ones in order of their names; crop and flips before all.
    """

    Settings: ClassVar[type[values.Settings]] = values.Settings
    order: ClassVar[int] = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not (isinstance(cls.Settings, type) and issubclass(cls.Settings, values.Settings)):
            raise TypeError(f"{cls.__name__}.Settings must be a subclass of noisybench.spec.values.Settings")

    def __init__(self, settings: values.Settings):
        self.settings = settings

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Augment a batch.

        Args:
            images: N×C×H×W uint8, on the device of the run; may be changed in place.
            draws: the only source of randomness.

        Returns:
            N×C×H×W uint8 on the same device.
        """
