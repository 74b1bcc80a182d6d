"""`bart-tf import`: other people's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="'varnet-mat', 'modl-hdf5', 'fastmri', 'ismrmrd' or 'cfl'.")],
    src: Annotated[Path, typer.Argument(help="File or folder to import; a BART array for cfl.")],
    dst: Annotated[Path, typer.Argument(help="Dataset folder to make; must not exist or be empty.")],
    pattern: Annotated[
        str,
        typer.Option(
            help="'source' (what the data comes with), 'regular' (every n-th line), 'random' (variable density, one "
            "for each slice), or a file: BART, or MATLAB with 'mask'."
        ),
    ] = "source",
    acceleration: Annotated[float, typer.Option(help="Undersampling of 'regular' and 'random'.")] = 4.0,
    reference_size: Annotated[int, typer.Option(help="Width of their fully sampled centre.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of random patterns and of added noise.")] = 0,
    coils: Annotated[
        str,
        typer.Option(
            help="Coil sensitivities: a BART file, or 'ecalib' with its options, such as 'ecalib -r 20'. Default: "
            "those of the source, otherwise ecalib."
        ),
    ] = "",
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes where, such as train=1-15; once for each of train, validation and test. Numbers are "
            "subjects (varnet-mat), trn0 ... and tst0 ... (modl-hdf5), files of a folder, otherwise slices; from 0, "
            "subjects as they are named. Default: as published (varnet-mat, modl-hdf5), otherwise test=all."
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(help="Slices of each subject or file, from 0. Default: 10-29 for varnet-mat, otherwise all."),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="modl-hdf5: standard deviation of the noise in k-space; default 0.01.")
    ] = None,
    average_repetitions: Annotated[
        bool, typer.Option("--average-repetitions", help="ismrmrd: average repetitions, which are refused otherwise.")
    ] = False,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Turn measured data into a dataset: published VarNet or MoDL data, fastMRI, ISMRMRD, or bare BART files.

    Example: [bold]bart-tf import fastmri file1000.h5 data/knee --pattern regular --acceleration 4[/bold]
    """
    from bart_bridge.importers import open_source
    from bart_bridge.importers.convert import convert
    from bart_bridge.importers.pattern_choice import PatternChoice
    from bart_bridge.importers.source import parse_split
    from bart_bridge.tools.toolbox import Toolbox

    reporter = options.reporter(quiet, verbose)
    if pattern not in {"regular", "random"}:
        reason = "this is for --pattern regular and random, which are drawn"
        options.refuse(context, reason, "acceleration", "reference_size")
    if pattern != "random" and (kind != "modl-hdf5" or noise == 0):
        options.refuse(context, "nothing is random here: neither --pattern random nor noise", "seed")

    def toolbox() -> Toolbox:
        found = Toolbox.find(bart)
        reporter.say(f"using BART {found.version_text} at {found.path} (from {found.source})", level=1)
        return found

    options.end_on_sigterm()
    choice = PatternChoice(pattern, acceleration, reference_size, seed)
    source = open_source(kind, src.absolute(), noise, seed, average_repetitions)
    splits = source.split(parse_split(split or []), slices)
    total = sum(map(len, splits.values()))
    for note in (source.split_note if not split else "", source.slices_note if not slices else ""):
        if note:
            reporter.say(note)
    with reporter.step(f"import {total} slices", total) as advance:
        imported = convert(source, dst.absolute(), splits, choice, coils, toolbox, lambda done, _: advance(done))
    for name, count in imported.left_out.items():
        reporter.say(f"left out: {name}: {count}")
    typer.echo(f"dataset: {dst} ({imported})")
