"""`bart-tf import`: datasets of measured data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.importers import KINDS
from bart_bridge.wording import counted
from compare.cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    from bart_bridge.importers.convert import ImportPlan
    from bart_bridge.importers.source import Entry, Source
    from bart_bridge.tools.toolbox import Toolbox
    from compare.console import Reporter

# Options that each belong to some kinds.
_OPTIONS = ("frames", "match", "group", "repetition", "average", "contrast", "set_", "phase")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    context: typer.Context,
    kind: Annotated[
        str,
        typer.Argument(
            help=f"Format: {', '.join(map(repr, KINDS))}. 'bart-tf inspect SRC' tells which.",
            autocompletion=lambda: list(KINDS),
        ),
    ],
    src: Annotated[Path, typer.Argument(help="File or folder to import; for cfl a BART array.")],
    dst: Annotated[Path, typer.Argument(help="Dataset folder to create. It must not exist, or must be empty.")],
    pattern: Annotated[
        str,
        typer.Option(
            help="Sampling pattern: 'source' (the pattern of the data), 'regular' (every n-th line), 'random' "
            "(variable density, another one for each slice), or a file: a BART array, a MATLAB file with 'mask' "
            "(one, or one for each time frame), or a NumPy file, whose patterns slices take in turn."
        ),
    ] = "source",
    acceleration: Annotated[float, typer.Option(help="Undersampling factor of 'regular' and 'random'.")] = 4.0,
    reference_size: Annotated[
        int, typer.Option(help="Width of the fully sampled centre of 'regular' and 'random'.")
    ] = 24,
    seed: Annotated[int, typer.Option(help="Seed of random patterns and of added noise.")] = 0,
    coils: Annotated[
        str,
        typer.Option(
            help="Coil sensitivities: a BART array, or 'ecalib' with its options, such as 'ecalib -r 20'. Default: "
            "the sensitivities of the source, or else ecalib."
        ),
    ] = "",
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Contents of one split, such as train=1-15. Repeat it for train, validation and test. Numbers count "
            "the files of a folder, the slices of a file or its volumes from 0; varnet-mat uses the numbers of its "
            "subjects, modl-hdf5 trn0, trn1, ... and tst0, tst1, ... Default: the published split for varnet-mat and "
            "modl-hdf5, otherwise test=all."
        ),
    ] = None,
    slices: Annotated[
        str | None,
        typer.Option(
            help="Slices of each subject or file, counted from 0. Default: 10-29 for varnet-mat, 50-205 for "
            "calgary-campinas, otherwise all."
        ),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="modl-hdf5: standard deviation of the noise in k-space. Default: 0.01.")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(help="cmrxrecon: time frames that become slices, such as 0, 0-11/2 or all. Default: 0."),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="fastmri, m4raw, calgary-campinas, cmrxrecon: take only these files of a folder, such as "
            "size=640x320,coils=16, contrast=T2 (m4raw) or name=cine_sax (cmrxrecon); fastmri also 'each': one "
            "dataset, in a folder below DST, for each size and number of coils."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="ismrmrd: the group of the file. Required if there are several.")
    ] = None,
    repetition: Annotated[
        str | None,
        typer.Option(help="ismrmrd, twix, m4raw: the repetition to take, or 'average'. Required if there are several."),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(
            help="ismrmrd, twix, fastmri (prostate): the average to take. Default: 'average', the mean of all."
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(help="ismrmrd, twix, skm-tea: the contrast (echo) to take. Required if there are several."),
    ] = None,
    set_: Annotated[
        str | None, typer.Option("--set", help="ismrmrd, twix: the set to take. Required if there are several.")
    ] = None,
    phase: Annotated[
        str | None, typer.Option(help="ismrmrd, twix: the phase of the heart to take. Required if there are several.")
    ] = None,
    average_repetitions: Annotated[
        bool, typer.Option("--average-repetitions", help="The same as --repetition average.")
    ] = False,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert measured data into a dataset: files of scanners (ISMRMRD, Siemens), BART files, or published data.

    Example: [bold]bart-tf import fastmri file1000.h5 data/knee --pattern regular --acceleration 4[/bold]
    """
    from bart_bridge.errors import InputError
    from bart_bridge.importers import open_sources, option_names
    from bart_bridge.importers.convert import ImportPlan
    from bart_bridge.importers.pattern_choice import PatternChoice
    from bart_bridge.importers.selection import parse_split
    from bart_bridge.inspection import other_import

    reporter = options.reporter(quiet, verbose)
    if pattern not in {"regular", "random"}:
        options.refuse(context, "this needs --pattern regular or random", "acceleration", "reference_size")
    if pattern != "random" and (kind != "modl-hdf5" or noise == 0):
        options.refuse(context, "nothing is random here: there is neither --pattern random nor noise", "seed")

    if average_repetitions and repetition:
        raise InputError(f"name either --average-repetitions or --repetition {repetition}")
    if "repetition" not in option_names(kind):
        options.refuse(context, f"{kind} has no repetitions", "average_repetitions")
    choice = PatternChoice(pattern, acceleration, reference_size, seed)
    wanted = {name: context.params[name] or None for name in _OPTIONS} | {"noise": noise}
    wanted["repetition"] = "average" if average_repetitions else repetition
    if "seed" in option_names(kind):
        wanted["seed"] = seed
    find_bart = partial(options.find_bart, bart, reporter)
    try:
        sources = open_sources(kind, src.absolute(), **wanted)
    except InputError as error:
        raise InputError("; ".join(filter(None, [str(error), other_import(kind, src)]))) from None
    # Before the first of several datasets is written: a split that one of them cannot have leaves none of them.
    splits = {name: _split(name, source, parse_split(split or []), slices) for name, source in sources.items()}
    for name, source in sources.items():
        plan = ImportPlan(splits[name], choice, coils)
        for note in (*source.notes, "" if split else source.split_note, "" if slices else source.slices_note):
            if note:
                reporter.say(note)
        _convert(source, dst / name, plan, find_bart, reporter)


def _split(name: str, source: Source, selection: dict[str, str], slices: str | None) -> dict[str, list[Entry]]:
    """List the slices of each split of a dataset; an error names the dataset if there are several."""
    from bart_bridge.errors import InputError

    try:
        return source.split(selection, slices)
    except InputError as error:
        raise InputError(f"{name}: {error}" if name else str(error)) from None


def _convert(
    source: Source, folder: Path, plan: ImportPlan, find_bart: Callable[[], Toolbox], reporter: Reporter
) -> None:
    """Write one dataset, with progress, and say what came of it."""
    from bart_bridge.importers.convert import convert
    from bart_bridge.inspection.bart_files import describe_dataset

    total = sum(map(len, plan.splits.values()))
    with reporter.step(f"import {counted(total, 'slice')}", total) as advance:
        imported = convert(source, folder.absolute(), plan, find_bart, lambda done, _: advance(done))
    for note, count in imported.notes.items():
        reporter.say(f"{note} (in {count} of {counted(total, 'slice')})")
    for name, count in imported.left_out.items():
        reporter.say(f"left out: {name}: {count}")
    for name, text in describe_dataset(folder).rows:
        reporter.say(f"{name}: {text}")
    typer.echo(f"dataset: {folder} ({imported})")
