"""`bart-tf train` and `bart-tf apply`: single runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.wording import counted
from compare.cli import options

if TYPE_CHECKING:
    from bart_bridge.data.dataset import Split


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command()(apply)


def train(
    context: typer.Context,
    config: options.Config,
    network: Annotated[str, typer.Option(help="Name of a network in the experiment.")],
    engine: Annotated[
        str, typer.Option(help="Name of an engine in the experiment, such as 'bart' or 'keras-tensorflow'.")
    ],
    memory: options.Memory = None,
    output: options.Output = None,
    resume: Annotated[
        bool,
        typer.Option(help="Continue an interrupted Keras training from its checkpoint, or start again."),
    ] = True,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train one network of an experiment on one engine. A later 'bart-tf compare' uses the result.

    Keras writes a checkpoint after each epoch and, on SIGTERM, after the current
    batch. BART writes none.

    Example: [bold]bart-tf train configs/demo.yaml --network modl --engine keras-tensorflow[/bold]
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.running.run_files import Run
    from compare.running.runner import Selection, run
    from compare.settings.engine_names import KerasEngineName
    from compare.settings.experiment import load, with_memory

    settings = experiment = load(config)
    if memory and network in experiment.networks:
        experiment, engine = with_memory(experiment, network, engine, memory)
    for kind, name, known in (("network", network, experiment.networks), ("engine", engine, experiment.engines)):
        if name not in known:
            raise InputError(f"{config}: no {kind} '{name}' (found: {', '.join(known)})")
    if not memory and engine not in (of_network := experiment.engines_of(network)):
        raise InputError(f"{config}: {network} has other engines (found: {', '.join(of_network)}), received '{engine}'")
    folder = options.output_folder(output, experiment.name)
    reporter = options.reporter(quiet, verbose)
    if KerasEngineName.parse(engine) is None:
        options.refuse(context, f"engine '{engine}' writes no checkpoint and always starts again", "resume")
    toolbox = Toolbox.find(bart)
    selection = Selection(parts=[(network, engine)], phases=["train"], repeats=False, resume=resume)
    with options.resumable():
        outcome = run(experiment, folder, toolbox, reporter, selection, settings)
    if outcome.failed:
        raise BartTfError("the training failed")
    typer.echo(f"run: {Run(folder, network, engine).folder}")


def apply(
    context: typer.Context,
    run: Annotated[list[Path], typer.Argument(help="Folders of trained runs, such as reports/demo/runs/modl-bart.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Output folder for images and tables.")],
    dataset: Annotated[Path | None, typer.Option(help="Dataset folder.")] = None,
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "test",
    kspace: Annotated[Path | None, typer.Option(help="k-space, a BART array. Use it instead of --dataset.")] = None,
    coils: Annotated[Path | None, typer.Option(help="Coil sensitivities, a BART array.")] = None,
    pattern: Annotated[Path | None, typer.Option(help="Sampling pattern, a BART array.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Fully sampled images, a BART array.")] = None,
    trajectory: Annotated[Path | None, typer.Option(help="Trajectory of non-Cartesian k-space, a BART array.")] = None,
    nufft: Annotated[
        str,
        typer.Option(
            help="NUFFT library for --trajectory: 'bart' or, for odd sizes, 'finufft'. A dataset sets its own."
        ),
    ] = "bart",
    acceleration: Annotated[
        float | None, typer.Option(help="Randomly undersample fully sampled k-space by this factor.")
    ] = None,
    memory: options.Memory = None,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Reconstruct data with trained runs of any engine, and compare the images with a reference if there is one.

    Example: [bold]bart-tf apply reports/demo/runs/* --kspace kspace --coils sens --reference ref
    --acceleration 4 -o reports/brain[/bold]
    """
    from bart_bridge.data.dataset import NUFFTS, Dataset
    from bart_bridge.tools.toolbox import Toolbox
    from compare.applying import ApplySettings, apply_runs

    if dataset is not None:
        names = ("kspace", "coils", "pattern", "reference", "trajectory", "nufft")
        options.refuse(context, "--dataset brings its own; name either --dataset, or --kspace and --coils", *names)
    elif kspace is None or coils is None:
        raise InputError("name either --dataset, or --kspace and --coils")
    else:
        options.refuse(context, "only a dataset has splits; name it with --dataset", "split")
    if nufft not in NUFFTS:
        raise InputError(f"--nufft must be bart or finufft, received '{nufft}'")
    if trajectory is None and dataset is None:
        options.refuse(context, "this needs --trajectory", "nufft")
    if pattern and acceleration is not None:
        raise InputError("name either --pattern or --acceleration")
    reporter = options.reporter(quiet, verbose)
    target = options.writable_folder(output)
    if dataset is not None:
        slices = Dataset.open(dataset.absolute()).split(split)
        slices.validate()
    else:
        slices = _slices_of_files((kspace, coils, pattern, reference, trajectory), nufft)
    for warning in slices.trajectory_warnings():
        reporter.say(f"warning: {warning}")
    # A run has the name of its folder, and `..` is no name.
    runs = [path.resolve() if ".." in path.parts else path.absolute() for path in run]
    table, failed = apply_runs(runs, slices, target, Toolbox.find(bart), reporter, ApplySettings(memory, acceleration))
    if table:
        typer.echo(table)
    typer.echo(f"images: {target}")
    if failed:
        raise BartTfError(f"{counted(len(failed), 'run')} failed: {', '.join(failed)}")


def _slices_of_files(files: tuple[Path | None, ...], nufft: str) -> Split:
    """Open k-space, coils, pattern, reference and trajectory, which need not exist except the first two."""
    from dataclasses import replace

    from bart_bridge.data.dataset import Split
    from bart_bridge.files.cfl import stem
    from bart_bridge.files.dims import check_axes

    # A shell completes .cfl or .hdr, which BART does not accept.
    paths = [stem(path).absolute() if path else None for path in files]
    slices = replace(Split(*paths), nufft=nufft)  # type: ignore[arg-type]
    slices.validate()
    _, _, coil, y, x = slices.arrays()["coils"].shape
    check_axes(str(slices.coils), {"x": x, "y": y, "coil": coil})
    return slices
