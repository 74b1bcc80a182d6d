"""`bart-tf profile`: what the GPU does in a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.wording import counted
from compare.cli import options

if TYPE_CHECKING:
    from compare.console import Reporter
    from compare.settings.experiment import Experiment
    from compare.trace.profiler import Tracing

Tracer = Literal["nsys", "cupti", "auto"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(profile)


def profile(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Argument(
            help="Experiment whose device is 'gpu': a YAML file, or a name of 'bart-tf configs'.",
            callback=options.find_config,
            autocompletion=options.builtin_names,
        ),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Engine to trace. Default: all engines of the experiment.")
    ] = None,
    tracer: Annotated[
        Tracer,
        typer.Option(help="Nsight Systems, our own CUPTI library, or the one that works here."),
    ] = "auto",
    repeats: Annotated[
        int, typer.Option(min=1, help="Number of traced runs of each training; 2 or more show the spread.")
    ] = 1,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Count operations and bytes of kernels, with ncu in an additional run.")
    ] = False,
    saved: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="Trace nothing, but read a summary, an export of Nsight Systems, or a folder of traces."
        ),
    ] = None,
    output: options.Output = None,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Trace the CUDA activity of trainings, and make tables of memory operations, functions and kernels.

    Tracing slows a run down. So the traced runs are separate from those of
    'bart-tf compare', and their time and memory do not count as measurements.

    Example: [bold]bart-tf profile configs/varnet_knee.yaml --engine bart[/bold]
    """
    from compare.settings.experiment import load
    from compare.trace import chapter
    from compare.trace.profiler import Tracing

    reporter = options.reporter(quiet, verbose)
    failed: dict[str, str] = {}
    if saved:
        if config is not None or engine:
            raise InputError("--from makes tables of what is saved: name no experiment and no --engine with it")
        reason = "--from makes tables of what is saved and traces nothing"
        options.refuse(context, reason, "tracer", "repeats", "roofline", "bart")
        folder = options.output_folder(output, "profile")
        sources = [path.absolute() for path in saved]
    else:
        if config is None:
            raise InputError("name an experiment to trace, or --from with a saved trace")
        experiment = load(config)
        for name in engine or []:
            if name not in experiment.engines:
                raise InputError(f"{config}: no engine '{name}' (found: {', '.join(experiment.engines)})")
        results = options.output_folder(output, experiment.name)
        names = [name for name in experiment.engines if not engine or name in engine]
        failed = _trace(experiment, results, Tracing(names, tracer, repeats, roofline), bart, reporter)
        folder = results / "profile"
        if failed and not any(folder.glob("*/summary.parquet")):
            raise BartTfError(f"no training could be traced: {'; '.join(failed.values())}")
        sources = [folder]
    tables = chapter.make_chapter(sources)
    if saved:
        chapter.keep_summaries(sources, folder)
    page = chapter.write(tables, folder)
    for finding in tables.findings:
        reporter.say(f"does not add up: {finding}")
    typer.echo(f"tables: {page}")
    if failed:
        raise BartTfError(f"{counted(len(failed), 'trace')} failed: {', '.join(failed)}")


def _trace(
    experiment: Experiment, folder: Path, tracing: Tracing, bart: Path | None, reporter: Reporter
) -> dict[str, str]:
    """Trace the trainings of an experiment; return for each one that failed the reason."""
    from bart_bridge.files import atomic
    from bart_bridge.tools.toolbox import Toolbox
    from compare.trace import profiler, roofline

    tracer = profiler.choose(tracing.tracer)
    reporter.say(f"tracer: {tracer.name}" + (f" ({tracer.note})" if tracer.note else ""))
    if tracing.roofline and (reason := roofline.unusable()):
        raise BartTfError(f"--roofline: {reason}")
    with options.resumable("traced"):
        failed = profiler.profile(experiment, folder, Toolbox.find(bart), reporter, tracer, tracing)
    ceilings = folder / "profile" / roofline.CEILINGS
    if tracing.roofline and not ceilings.exists():
        atomic.write_text(ceilings, json.dumps(roofline.measure_ceilings(), indent=1) + "\n")
    return failed
