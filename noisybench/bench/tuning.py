"""A study: trials of one method's settings, by Optuna, kept in a folder that several processes may work in.

Trials are numbered from 0; number 0 is the recipe as it is. What number n tries is a function of the study's seed, n
and the results before it: a study that was stopped goes on as if it had not been. Who trains which trial is settled by
leases (:mod:`noisybench.bench.leases`); a trial whose process was killed is trained again, under its number.
"""

from __future__ import annotations

import contextlib
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np
from scipy.stats import qmc

from noisybench.bench.leases import acquire
from noisybench.core import rng
from noisybench.core.errors import MethodError, UserError, one_line
from noisybench.core.files import canonical_json, reported, write_json
from noisybench.core.machine import git_commit, versions
from noisybench.core.nested import merge
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.layers import resolve_dict
from noisybench.spec.tuning import Space, values_given
from noisybench.train.progress import Progress
from noisybench.train.trial import Trials

if TYPE_CHECKING:
    import optuna

JOURNAL, RESULT, LEASES, LOCK = "study.jsonl", "tuning.json", "leases", ".study-lock"
SAMPLER_SEED = 0
STARTUP = 8  # trials spread evenly over the ranges before the sampler goes by results; a power of 2
WAIT_SECONDS = 1.0  # between two looks at trials that other processes train


@dataclass(frozen=True)
class Question:
    """What a study asks: the run as its recipe has it, what may be changed, and who judges.

    Attributes:
        given: what is set on the command line; its seed is not used.
        base: the same, resolved, with the first of the seeds.
        spaces: ranges by the setting's name.
        seeds: of each trial; its score is the mean over them.
        judge: one of :data:`noisybench.train.trial.JUDGES`.
    """

    given: dict[str, Any]
    base: ResolvedConfig
    spaces: dict[str, Space]
    seeds: tuple[int, ...]
    judge: str

    def content(self) -> dict[str, Any]:
        """As plain JSON values, without what cannot change a result."""
        return {
            "config": {name: value for name, value in self.base.science().items() if name != "seed"},
            "ranges": {key: space.content() for key, space in self.spaces.items()},
            "seeds": list(self.seeds),
            "judge": self.judge,
            "sampler": {"name": "Sobol, then TPE", "seed": SAMPLER_SEED, "startup": STARTUP},
        }


@dataclass(frozen=True)
class TrialResult:
    """One trial that is over.

    Attributes:
        number: counted from 0; 0 is the recipe.
        values: by the setting's name.
        score: the judge's mean over the seeds; None if it failed.
        scores: of each seed, in their order.
        reason: why it failed; None if it did not.
        seconds: that it took.
    """

    number: int
    values: dict[str, Any]
    score: float | None
    scores: list[float]
    reason: str | None
    seconds: float


class Study:
    """A study in its folder.

    Raises:
        UserError: Optuna is missing, the folder cannot be used, or it holds another study.
    """

    def __init__(self, question: Question, folder: Path):
        self.question, self.folder = question, folder
        self._optuna = imported_optuna()
        with reported(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / LOCK)
        with self._alone():
            self._study = self._opened()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other process reads or writes the study. The system lets go of the lock when a process dies."""
        with reported(self.folder / LOCK), self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            yield

    def _opened(self) -> optuna.Study:
        optuna = self._optuna
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        class Held(JournalFileOpenLock):
            """Nothing: whoever writes has the study alone."""

            def acquire(self) -> bool:
                return True

            def release(self) -> None: ...

        file, asked = self.folder / JOURNAL, canonical_json(self.question.content())
        try:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(file), lock_obj=Held(str(file))))
            study = optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}: no study that can be read ({one_line(error)}); give another --output") from error
        stored = study.user_attrs.get("asked")
        if stored is None:
            study.set_user_attr("asked", asked)
        elif stored != asked:
            raise UserError(
                f"--output {self.folder}: it holds another study ({_difference(stored, asked)}); give another --output"
            )
        return study

    def results(self, trials: int) -> list[TrialResult]:
        """The first so many trials that are over, by number."""
        found: dict[int, TrialResult] = {}
        for trial in self._study.get_trials(deepcopy=False):
            if "result" in trial.user_attrs and trial.state.is_finished():
                result = TrialResult(**trial.user_attrs["result"])
                found.setdefault(result.number, result)
        return [found[number] for number in sorted(found) if number < trials]

    def run(self, trials: int, progress: Progress, told: Any = None) -> list[TrialResult]:
        """Train what is left of so many trials; wait for those that other processes train.

        Args:
            told: is called with each result that this process made.

        Raises:
            UserError: the recipe itself cannot be run.
        """
        runner: Trials | None = None
        while True:
            with self._alone():
                done = {result.number for result in self.results(trials)}
            left = [number for number in range(trials) if number not in done]
            if not left:
                break
            took = False
            for number in left:
                lease = acquire(self.folder / LEASES, f"trial-{number}")
                if lease is None:
                    continue
                with lease:
                    if runner is None:
                        runner = Trials(self.question.base, self.question.judge, progress)
                    result = self._train(number, runner)
                if result is not None:
                    took = True
                    if told is not None:
                        told(result)
            if not took:
                time.sleep(WAIT_SECONDS)
        with self._alone():
            results = self.results(trials)
            self.write(results, trials)
        return results

    def _train(self, number: int, runner: Trials) -> TrialResult | None:
        """One trial; None if another process has done it meanwhile."""
        with self._alone():
            if any(result.number == number for result in self.results(number + 1)):
                return None
            trial = self._asked(number)
        values = {key: _short(trial.params[key], space) for key, space in self.question.spaces.items()}
        started, scores, reason = time.perf_counter(), [], None
        try:
            for seed in self.question.seeds:
                scores.append(runner.accuracy(self.config(values, seed)))
        except UserError as error:
            if number == 0 and not isinstance(error, MethodError):
                self._tell(trial, None)  # the recipe cannot be run: not a trial's fault
                raise
            reason = one_line(error)
        score = sum(scores) / len(scores) if reason is None else None
        result = TrialResult(number, values, score, scores, reason, round(time.perf_counter() - started, 3))
        self._tell(trial, result)
        return result

    def config(self, values: dict[str, Any], seed: int) -> ResolvedConfig:
        """The run of one trial and one seed.

        Raises:
            UserError: the method refuses these values.
        """
        changed = {key: value for key, value in values.items() if value != self.question.spaces[key].recipe}
        return resolve_dict(merge(self.question.given, values_given(changed, self.question.base)) | {"seed": seed})

    def _asked(self, number: int) -> optuna.Trial:
        """What trial ``number`` tries. What a killed process left of it is closed first."""
        optuna, study = self._optuna, self._study
        for old in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if old.user_attrs.get("number", number) == number:
                study.tell(old.number, state=optuna.trial.TrialState.FAIL)
        sampler = optuna.samplers.TPESampler(
            seed=int(rng.key(SAMPLER_SEED, "tune", number)) % 2**32, n_startup_trials=STARTUP // 2, multivariate=True
        )
        fixed = first_values(number, self.question.spaces) if number < STARTUP else {}
        study.sampler = optuna.samplers.PartialFixedSampler(fixed, sampler)
        trial = study.ask({key: self._distribution(space) for key, space in self.question.spaces.items()})
        trial.set_user_attr("number", number)
        return trial

    def _distribution(self, space: Space) -> optuna.distributions.BaseDistribution:
        kinds = self._optuna.distributions
        if space.choices is not None:
            return kinds.CategoricalDistribution(space.choices)
        if space.whole:
            return kinds.IntDistribution(space.low, space.high, step=space.step)
        return kinds.FloatDistribution(space.low, space.high, log=space.log)

    def _tell(self, trial: optuna.Trial, result: TrialResult | None) -> None:
        with self._alone():
            if result is not None:
                trial.set_user_attr("result", asdict(result))
            if result is None or result.score is None:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(trial, result.score)

    def write(self, results: list[TrialResult], trials: int) -> None:
        """Write ``tuning.json``."""
        base, best = self.question.base, chosen(results)
        content = {
            "method": base.method,
            "dataset": base.dataset,
            "frozen": base.frozen,
            "noise": base.noise,
            "noise_rate": base.noise_rate,
            "budget": trials,
            **self.question.content(),
            "trials": [asdict(result) for result in results],
            "chosen": None if best is None else {"number": best.number, "values": best.values, "score": best.score},
            "versions": {**versions(), "optuna": self._optuna.__version__},
            "git_commit": git_commit(),
        }
        with reported(self.folder / RESULT):
            write_json(self.folder / RESULT, content)


def chosen(results: list[TrialResult]) -> TrialResult | None:
    """The trial of the highest score, the first of several; None if all failed."""
    scored = [result for result in results if result.score is not None]
    return max(scored, key=lambda result: (result.score, -result.number), default=None)


def first_values(number: int, spaces: dict[str, Space]) -> dict[str, Any]:
    """What one of the first :data:`STARTUP` trials tries: number 0 the recipe, the others points of a scrambled Sobol
    sequence. Of so few points each lies in another eighth of every range, which random ones do not: a small budget sees
    all of it.

    Args:
        spaces: by the setting's name; the n-th is the sequence's n-th dimension.
    """
    if number == 0:
        return {key: space.recipe for key, space in spaces.items()}
    drawn = qmc.Sobol(len(spaces), rng=np.random.default_rng(SAMPLER_SEED)).random(STARTUP)[number]
    return {key: space.at(float(part)) for (key, space), part in zip(spaces.items(), drawn, strict=True)}


def _short(value: Any, space: Space) -> Any:
    """A number with four digits, as it will stand on a card; the recipe's own stays as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) and value != space.recipe else value


def imported_optuna() -> Any:
    """Optuna, which is installed by an extra.

    Raises:
        UserError: it is not.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("tune needs Optuna: pip install 'noisybench[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _difference(stored: str, asked: str) -> str:
    """The first thing in which two questions differ."""
    before, now = json.loads(stored), json.loads(asked)
    from noisybench.core.nested import flatten

    old, new = flatten(before), flatten(now)
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            return f"{name} is {old.get(name)!r} there and {new.get(name)!r} here"
    return "its ranges differ"
