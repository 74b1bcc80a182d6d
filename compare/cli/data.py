"""`bart-tf simulate`: datasets of phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bart_bridge.wording import counted
from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Dataset folder to create. It must not exist, or must be empty.")],
    size: Annotated[int, typer.Option(help="Number of pixels along x, and along y unless --size-y is given.")] = 48,
    size_y: Annotated[int | None, typer.Option(help="Cartesian: number of pixels along y.")] = None,
    coil_count: Annotated[int, typer.Option(help="Number of receive coils.")] = 4,
    train: Annotated[int, typer.Option(help="Number of slices for training.")] = 24,
    validation: Annotated[int, typer.Option(help="Number of slices for choosing parameters.")] = 4,
    test: Annotated[int, typer.Option(help="Number of slices for measuring quality.")] = 8,
    phantom: Annotated[
        str,
        typer.Option(
            help="What images show: 'shapes', 'brain', 'varied-brain' (both BART 0.9.00 or later), or "
            "'brain-or-shapes'."
        ),
    ] = "shapes",
    noise: Annotated[float, typer.Option(help="Noise in k-space, relative to the image's maximum.")] = 0.01,
    pattern: Annotated[
        str,
        typer.Option(
            help="Cartesian: 'random' (variable density) or 'regular' (every n-th line). "
            "Non-Cartesian: 'radial', 'golden-angle' or 'spiral'."
        ),
    ] = "random",
    acceleration: Annotated[float, typer.Option(help="Cartesian: undersampling factor.")] = 4.0,
    reference_size: Annotated[int, typer.Option(help="Cartesian: width of the fully sampled centre.")] = 8,
    spokes: Annotated[int, typer.Option(help="Non-Cartesian: number of spokes or spiral arms.")] = 44,
    density_compensation: Annotated[bool, typer.Option(help="Non-Cartesian: weight samples by their density.")] = True,
    nufft: Annotated[
        str, typer.Option(help="Non-Cartesian: NUFFT library, 'bart' or, for odd sizes, 'finufft'.")
    ] = "bart",
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Simulate a dataset of phantoms with BART: k-space, coil sensitivities, sampling patterns and references.

    Example: [bold]bart-tf simulate data/phantoms --size 64 --acceleration 6[/bold]
    """
    from pydantic import ValidationError

    from bart_bridge.data.simulation import Simulation
    from bart_bridge.data.simulation import simulate as make
    from bart_bridge.data.trajectories import KINDS
    from bart_bridge.errors import InputError, first_fault

    if pattern in KINDS:
        reason = f"pattern '{pattern}' is not Cartesian, use --spokes to set how much is sampled"
        options.refuse(context, reason, "acceleration", "reference_size")
    else:
        reason = f"pattern '{pattern}' is Cartesian, this needs one of {', '.join(KINDS)}"
        options.refuse(context, reason, "spokes", "density_compensation", "nufft")
    try:
        settings = Simulation.model_validate(
            {
                "size": size,
                "size_y": size_y,
                "coil_count": coil_count,
                "train": train,
                "validation": validation,
                "test": test,
                "phantom": phantom,
                "noise": noise,
                "pattern": pattern,
                "acceleration": acceleration,
                "reference_size": reference_size,
                "spokes": spokes,
                "density_compensation": density_compensation,
                "nufft": nufft,
                "seed": seed,
            }
        )
    except ValidationError as error:
        raise InputError(first_fault(error)) from None
    reporter = options.reporter(quiet, verbose)
    toolbox = options.find_bart(bart, reporter)
    total = train + validation + test
    with reporter.step(f"simulate {counted(total, 'slice')}", total) as advance:
        make(folder.absolute(), settings, toolbox, lambda done, _: advance(done))
    typer.echo(f"dataset: {folder}")
