"""Trials of settings: one method trained again and again on the same data, in one process, without the test set.

A trial writes nothing. Its session has no test stream, and its data hold no test image and no test label.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from noisybench.core.errors import UserError
from noisybench.core.machine import keeping_freed_memory
from noisybench.data import Dataset
from noisybench.data.features import Features
from noisybench.models import check_model_name
from noisybench.parallel.connect import make_accelerator
from noisybench.parallel.world import World
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.metrics import ON_CLEAN_VAL, ON_NOISY_VAL
from noisybench.train.build import Place
from noisybench.train.extract import with_features
from noisybench.train.job import default_dtype
from noisybench.train.prepare import RunData, official_parts, prepare_dataset
from noisybench.train.progress import Progress
from noisybench.train.session import Session

JUDGES = {"noisy-val": ON_NOISY_VAL, "clean-val": ON_CLEAN_VAL}


class Trials:
    """What the trials of one study share: the device, the images, the features, and the data of each seed.

    Args:
        base: a run of the study; others may differ from it in the seed and in what may be tuned
            (:mod:`noisybench.spec.tuning`).
        judge: one of :data:`JUDGES`.

    Raises:
        UserError: the data cannot be had, or several processes were started together.
    """

    def __init__(self, base: ResolvedConfig, judge: str, progress: Progress):
        accelerator = make_accelerator(mixed_precision=base.mixed_precision)
        self._place = Place(World(accelerator), accelerator.device, getattr(torch, base.precision))
        if self._place.world.size > 1:
            raise UserError("tune: one process trains a trial; start the command several times to share the work")
        check_model_name(base.model)
        self._judge, self._progress = JUDGES[judge], progress
        self._dataset: Dataset = official_parts(base)
        self._features: Features | None = None
        self._of_seed: dict[int, RunData] = {}

    @property
    def device(self) -> torch.device:
        """Where they train."""
        return self._place.device

    def accuracy(self, config: ResolvedConfig) -> float:
        """Train once; the judge's accuracy in the last epoch.

        Raises:
            MethodError: the method failed, or its loss was not finite.
            UserError: the method, the model and the data do not fit together.
        """
        data = self._data(config)
        if not len(getattr(data.splits, self._judge.measured)):
            raise UserError(f"{self._judge.title} judges, and the run has no such images: give it another size")
        device = self._place.device
        with (
            keeping_freed_memory(),
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            default_dtype(torch.float32),
        ):
            session = Session(config, data, self._place)
            row = {}
            for epoch in session.epochs_left():
                for _ in session.train(epoch):
                    pass
                row = session.evaluate()
        return float(row[self._judge.name])

    def _data(self, config: ResolvedConfig) -> RunData:
        """The data of a seed: prepared once."""
        if config.seed not in self._of_seed:
            data = prepare_dataset(config, self._dataset).without_test()
            if config.frozen and self._features is None:
                self._features = with_features(config, data, self._place.device, self._progress).features
            self._of_seed[config.seed] = replace(data, features=self._features)
        return self._of_seed[config.seed]
