"""What a card may say: the validated form of the TOML files in ``registry/``.

Cards are data: settings, sources and claims. A wrong or unknown key is refused when the card is read.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from noisybench.core.errors import unknown_name
from noisybench.core.names import file_name_fault, shown_name
from noisybench.spec import extensions
from noisybench.spec.extension_kinds import BUILT_IN, HUB
from noisybench.spec.metrics import LAST, RULES
from noisybench.spec.track import TRACKS, ShortTrack, Track
from noisybench.spec.tuning import Range, Tuned, key_fault


class Card(BaseModel):
    """What every card has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    summary: str = ""


class Paper(BaseModel):
    """The publication behind a method or dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    authors: str
    venue: str
    year: int
    arxiv: str | None = None
    code: str | None = Field(default=None, description="the official code, as owner/repository")


class Claim(BaseModel):
    """A number somebody published, with the protocol it was measured under and where it was seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    noise: str
    noise_rate: float | None = None
    accuracy: float = Field(ge=0, le=1)
    protocol: str
    source: str


class MethodCard(Card):
    """What a method is, where it comes from, and the settings its sources state."""

    paper: Paper | None = None
    quirks: list[str] = Field(default=[], description="where the implementation departs from a source, and why")
    recipes: dict[str, dict[str, Any]] = Field(
        default={},
        description="configuration by dataset name; 'default' serves every dataset without one; DATASET:PROTOCOL and "
        "DATASET:TRACK (settings only) are laid over it, default:frozen and DATASET:frozen over a frozen run's",
    )
    recipe_sources: dict[str, str] = Field(default={}, description="where the values of a recipe come from")
    blind: dict[str, Any] = Field(default={}, description="configuration of the blind ruleset: one for all noise")
    tune: dict[str, Range] = Field(default={}, description="what `noisybench tune` tries, by the setting's name")
    tuned: dict[str, Tuned] = Field(default={}, description="how the recipe of this name was found by it")
    claims: list[Claim] = []

    @model_validator(mode="after")
    def _tunes_what_there_is(self):
        for fault in filter(None, map(key_fault, self.tune)):
            raise ValueError(fault)
        for name in self.tuned.keys() - self.recipes.keys():
            raise ValueError(f"tuned names the recipe {name!r}, which the card has not")
        return self

    @model_validator(mode="after")
    def _trains_as_the_track_says(self):
        for name, recipe in self.recipes.items():
            others = sorted(recipe.keys() - {"settings"})
            if name.partition(":")[2] in TRACKS and others:
                raise ValueError(
                    f"recipe {name!r} holds {', '.join(others)}: a track trains all methods alike, so only settings "
                    "belong here"
                )
        return self


class SplitSizes(BaseModel):
    """How many samples of the official train set each held-out part takes under the sealed protocol."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    meta_size: int
    noisy_val_size: int
    clean_val_size: int


class ExpectedFile(BaseModel):
    """A list file or folder of a dataset as its authors distribute it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="relative to the dataset's folder")
    what: str
    entries: int | None = Field(default=None, description="lines, rows or images in the full dataset")


class DatasetCard(Card):
    """What a dataset is and where a user gets it."""

    base: str | None = Field(
        default=None,
        description="the dataset with the same images: its card and recipes serve where this one is silent",
    )
    source: str = Field(
        description="which loader reads it: digits, synthetic, hub, or a name from `noisybench layouts`"
    )
    variant: str = Field(default="", description="which protocol of the source's layout")
    hub: str | None = Field(default=None, description="name on the Hugging Face Hub")
    image_column: str = "image"
    label_column: str = "label"
    classes: list[str] = Field(min_length=2)
    superclass: dict[str, str] = Field(default={}, description="the superclass of each class")
    image_size: int = Field(ge=1)
    resize: int | None = Field(
        default=None, description="photos: resize the shorter side to this, then crop the centre to image_size"
    )
    channels: Literal[1, 3]
    train_size: int | None = Field(default=None, description="None: depends on the files")
    test_size: int | None = None
    clean_size: int | None = Field(default=None, description="images of the dataset's own clean part")
    labels: Literal["clean", "noisy", "unknown"] = Field(
        default="clean", description="what the shipped training labels are; unknown: a user's own folder"
    )
    noise_rate: float | None = Field(default=None, ge=0, lt=1, description="expected, where the labels are noisy")
    noise_rate_source: str = ""
    mean: list[float]
    std: list[float]
    licence: str
    homepage: str
    obtain: str = Field(default="", description="where a user gets it, and what to do with it")
    files: list[ExpectedFile] = []
    splits: SplitSizes
    asymmetric: dict[str, str] = Field(
        default={}, description="asymmetric noise: a class's images take on the label of the named class"
    )
    orders: dict[str, str] = Field(
        default={}, description="known orders of the train part, by the sha256 of its labels (little-endian int64)"
    )
    known_predictions: dict[str, str] = Field(
        default={},
        description="published predictions that do not say which images they are for, by the sha256 of their bytes: "
        "the sha256 of the train labels in the order they were made for",
    )
    defaults: dict[str, Any] = Field(default={}, description="configuration for this dataset, below any recipe")
    frozen: dict[str, Any] = Field(default={}, description="configuration of frozen runs, above the recipes")
    tracks: dict[ShortTrack, dict[str, Any]] = Field(
        default={}, description="configuration of a short track, above the recipes: one for all methods"
    )

    @field_validator("source", mode="after")
    @classmethod
    def _source_is_known(cls, source: str) -> str:
        known = [*BUILT_IN, HUB, *extensions.names("layout")]
        if source not in known:
            raise ValueError(str(unknown_name("source", source, known)))
        return source

    @model_validator(mode="after")
    def _agrees_with_itself(self):
        classes = set(self.classes)
        if len(classes) != len(self.classes):
            raise ValueError("a class is named twice")
        if self.superclass and set(self.superclass) != classes:
            raise ValueError("superclass must name every class once")
        if not {*self.asymmetric, *self.asymmetric.values()} <= classes:
            raise ValueError("asymmetric names a class that does not exist")
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std need one value for each channel")
        if self.resize is not None and self.resize < self.image_size:
            raise ValueError("resize must not be smaller than image_size")
        if any("settings" in table for table in [*self.tracks.values(), self.frozen]):
            raise ValueError(
                "tracks and frozen hold no method's settings: they belong on its card, in a recipe DATASET:TRACK"
            )
        if self.tracks and not {"epochs", "batch_size"} <= self.defaults.keys():
            raise ValueError("tracks need defaults with epochs and batch_size, which phases are scaled from")
        return self


class BoardClaim(Claim):
    """A published number of a method that a board shows beside its own."""

    method: str


class BenchmarkCard(Card):
    """A board: which cells are run, under which rules, and how they are compared."""

    datasets: list[str] = Field(min_length=1)
    noises: list[str] = Field(min_length=1)
    noise_rates: list[float] = Field(default=[], description="empty: the noise has no rate to choose")
    methods: list[str] = Field(
        min_length=1,
        description="what a suite runs, each NAME or NAME[KEY=VALUE,…]; a board takes records of any method",
    )
    seeds: int = Field(default=3, ge=1, le=1000, description="how many a suite runs, counted from 0; a board takes any")
    protocol: Literal["sealed", "authors"] = "sealed"
    ruleset: Literal["paper", "blind"] = "paper"
    track: Track = "standard"
    model: str | None = Field(default=None, description="the backbone every run must use; the dataset's if not given")
    epochs: int | None = Field(default=None, ge=1, description="what every run must train; the recipe's if not given")
    headline: str = Field(default=LAST.metric, description="the selection rule shown first; never the oracle")
    baseline: str = Field(default="ce", description="the method that paired differences are taken to")
    overrides: dict[str, Any] = Field(default={}, description="further configuration that every run must have")
    images: str = Field(default="", description="which copy of the images, in a sentence that the board shows")
    dataset_fingerprints: dict[str, str] = Field(
        default={}, description="the dataset fingerprint that a record must have, by the dataset's name"
    )
    claims: list[BoardClaim] = Field(default=[], description="published numbers besides those on the methods' cards")

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        fault = file_name_fault(name)
        if fault is not None:
            raise ValueError(f"a board's folder cannot be named {shown_name(name)}, which {fault}")
        return name

    @field_validator("dataset_fingerprints")
    @classmethod
    def _are_hashes(cls, prints: dict[str, str]) -> dict[str, str]:
        for dataset, value in prints.items():
            if re.fullmatch("[0-9a-f]{64}", value) is None:
                raise ValueError(f"dataset_fingerprints.{dataset} is {value[:20]!r}, no sha256 in hexadecimal")
        return prints

    @model_validator(mode="after")
    def _names_its_own_datasets(self):
        for dataset in self.dataset_fingerprints:
            if dataset not in self.datasets:
                raise unknown_name(f"dataset of board {self.name!r} in dataset_fingerprints", dataset, self.datasets)
        return self

    @field_validator("headline")
    @classmethod
    def _may_be_selected_by(cls, headline: str) -> str:
        allowed = [name for name, rule in RULES.items() if rule.allowed]
        if headline not in allowed:
            raise ValueError(f"{headline!r} is no rule to select by; known: {', '.join(allowed)}")
        return headline
