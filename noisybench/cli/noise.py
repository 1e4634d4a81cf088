"""``noisybench noise``: make, show, import and estimate label noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from noisybench.core.errors import UserError

app = typer.Typer(help="Make, show, import and estimate label noise.", no_args_is_help=True, rich_markup_mode=None)

Output = Annotated[Path, typer.Option(help="The file to write (.npz).")]
Dataset = Annotated[str, typer.Option(help="A name from `noisybench datasets`.")]
DataPath = Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")]
LimitTrain = Annotated[int | None, typer.Option(help="Use so many training images (stratified).")]
Heat = Annotated[Path | None, typer.Option("--png", help="Draw the transition matrix as a heat map.")]
Force = Annotated[bool, typer.Option("--force", help="Write over a file that exists.")]
ForceMaps = Annotated[bool, typer.Option("--force", help="Write over files that are no heat maps.")]


def _config(**given: Any):
    """A configuration from the options that were given."""
    from noisybench.spec.layers import resolve_dict

    return resolve_dict({name: value for name, value in given.items() if value is not None})


def _of_clean_labels(**given: Any):
    """A configuration for work that starts from clean labels."""
    from noisybench.spec import registry

    config = _config(**given, noise="none")
    if registry.dataset_card(config.dataset).labels == "noisy":
        raise UserError(f"--dataset {config.dataset}: its labels are noisy as they are; noise is made from clean ones")
    return config


def _writable(output: Path, force: bool) -> None:
    """Find out before the work that its result cannot be stored."""
    from noisybench.core.own_outputs import NOISE_FILE

    if output.suffix != ".npz":
        raise UserError(f"--output {output}: give a name that ends in .npz")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: no folder {output.parent}")
    NOISE_FILE.refuse_foreign(output, force=force)


@app.command(
    help="Draw the noise that a run with these options would train on, as a file.",
    epilog="Example: noisybench noise make --dataset cifar10 --noise symmetric --noise-rate 0.4 --output noise.npz",
)
def make(
    output: Output,
    noise: Annotated[str, typer.Option(help="KIND or KIND:FILE, KIND from `noisybench noises`.")],
    dataset: Dataset = "digits",
    noise_rate: Annotated[float | None, typer.Option(help="In [0, 1). [default: 0.4]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw. [default: 0]")] = None,
    protocol: Annotated[str | None, typer.Option(help="sealed or authors. [default: sealed]")] = None,
    data_path: DataPath = None,
    limit_train: LimitTrain = None,
    force: Force = False,
) -> None:
    options = locals()
    _writable(options.pop("output"), options.pop("force"))
    config = _config(**options)

    from noisybench.cli.noise_report import print_summary
    from noisybench.train.prepare import draw_noise, official_parts

    artifact = draw_noise(config, official_parts(config))
    artifact.save(output)
    print_summary(artifact, str(output))


@app.command(help="Show what is in a noise file: rates, transition matrix, largest confusions.")
def show(
    file: Annotated[Path, typer.Argument(help="A noise file, or the noise.npz of a run.")],
    png: Heat = None,
    force: ForceMaps = False,
) -> None:
    from noisybench.cli.noise_report import class_names, print_noise
    from noisybench.core.own_outputs import HEAT_MAP
    from noisybench.noise import NoiseArtifact
    from noisybench.noise.heat_map import heat_map

    if png is not None:
        HEAT_MAP.refuse_foreign(png, force=force)
    artifact = NoiseArtifact.load(file)
    print_noise(artifact, str(file))
    if png is not None:
        title = f"{artifact.kind}, {artifact.achieved_rate:.4f} of the labels wrong"
        heat_map(png, artifact.transition_matrix(), class_names(artifact), title)


@app.command(
    "import",
    help="Turn a CSV table of labels into a noise file: one row per training image, with its given and clean label.",
)
def import_(
    table: Annotated[Path, typer.Argument(help="CSV with a header; an 'index' column is used if there is one.")],
    output: Output,
    dataset: Dataset,
    data_path: DataPath = None,
    limit_train: LimitTrain = None,
    noisy_column: Annotated[str, typer.Option(help="The column of given labels.")] = "noisy",
    clean_column: Annotated[str, typer.Option(help="The column of clean labels.")] = "clean",
    force: Force = False,
) -> None:
    _writable(output, force)
    config = _of_clean_labels(dataset=dataset, data_path=data_path, limit_train=limit_train)

    from noisybench.cli.noise_report import print_summary
    from noisybench.noise.label_files import import_table
    from noisybench.train.prepare import noise_request, official_parts

    request = noise_request(config, official_parts(config))
    artifact = import_table(table, request, noisy_column=noisy_column, clean_column=clean_column)
    artifact.save(output)
    print_summary(artifact, str(output))


@app.command(
    help="Train a student by distillation and store its predictions on the train images, for feature-dependent noise.",
    epilog="Example: noisybench noise student --output student.npz, then "
    "noisybench run --noise feature-dependent:student.npz --noise-rate 0.4",
)
def student(
    output: Output,
    dataset: Dataset = "digits",
    data_path: DataPath = None,
    limit_train: LimitTrain = None,
    teacher: Annotated[str | None, typer.Option(help="Any timm name. [default: the student's]")] = None,
    model: Annotated[str | None, typer.Option(help="The student, any timm name. [default: the dataset's]")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of each of the two. [default: the dataset's]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. [default: the dataset's]")] = None,
    temperature: Annotated[float, typer.Option(min=1e-3, help="Divides the logits that are compared.")] = 2.0,
    hard_weight: Annotated[float, typer.Option(min=0, max=1, help="Share of the loss on the clean labels.")] = 0.3,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation. [default: 0]")] = None,
    force: Force = False,
) -> None:
    _writable(output, force)
    config = _of_clean_labels(
        dataset=dataset,
        data_path=data_path,
        limit_train=limit_train,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
    )

    from noisybench.core.console import say
    from noisybench.models import check_model_name
    from noisybench.noise.predictions import write_predictions
    from noisybench.train.prepare import official_parts
    from noisybench.train.student import student_predictions

    for name in (teacher or config.model, config.model):
        check_model_name(name)
    data = official_parts(config)
    probabilities = student_predictions(
        config,
        data,
        teacher_model=teacher or config.model,
        temperature=temperature,
        hard_weight=hard_weight,
        say=say,
    )
    write_predictions(output, probabilities, data.train.labels)
    say(output)


@app.command(
    help="Estimate the transition matrix from a finished run's predictions on its noisy train set, by anchor points "
    "and by the confident joint, and compare with the true one where it is known.",
)
def estimate(
    run: Annotated[Path, typer.Argument(help="A run's output folder.")],
    data_path: Annotated[Path | None, typer.Option(help="The dataset's folder, if it has moved.")] = None,
    png: Annotated[Path | None, typer.Option(help="Folder for a heat map of each matrix.")] = None,
    force: ForceMaps = False,
) -> None:
    from noisybench.cli.noise_report import print_estimates, refuse_foreign_maps
    from noisybench.train.finished import load_run

    if png is not None:
        refuse_foreign_maps(png, force=force)
    finished = load_run(run, data_path)
    probabilities = finished.predict_train_set().double().cpu().numpy()
    print_estimates(finished.data, probabilities, png, finished.checked_labels())
