"""`bart-tf profile`: what the GPU does in a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bart_bridge.errors import BartTfError, InputError
from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(profile)


def profile(
    context: typer.Context,
    config: Annotated[Path | None, typer.Argument(help="Experiment, a YAML file; its device must be 'gpu'.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Engine to trace; default all of the experiment.")] = None,
    tracer: Annotated[
        Literal["nsys", "cupti", "auto"],
        typer.Option(help="Nsight Systems, our own library against CUPTI, or whichever works here."),
    ] = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Traced runs of each training; 2 or more show the spread.")] = 1,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Count operations and bytes of kernels too, with ncu in one more run.")
    ] = False,
    saved: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Trace nothing: a summary, an export of Nsight Systems, or a folder of traces."),
    ] = None,
    output: options.Output = None,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Trace the CUDA activity of trainings and make tables of it: memory operations, functions, kernels.

    Runs apart from bart-tf compare: a traced run is slower, and nothing of it is measured as time or memory.

    Example: [bold]bart-tf profile configs/varnet_knee.yaml --engine bart[/bold]
    """
    from compare.trace import chapter

    reporter = options.reporter(quiet, verbose)
    if saved:
        if config is not None or engine:
            raise InputError("--from makes tables of what is saved: name no experiment and no --engine with it")
        reason = "--from makes tables of what is saved and traces nothing"
        options.refuse(context, reason, "tracer", "repeats", "roofline", "bart")
        folder = options.output_folder(output, "profile")
        sources = [path.absolute() for path in saved]
        failed: dict[str, str] = {}
    else:
        if config is None:
            raise InputError("name an experiment to trace, or --from with a saved trace")
        folder, failed = _trace(config, engine, tracer, repeats, roofline, output, bart, quiet, verbose)
        if failed and not any(folder.glob("*/summary.parquet")):
            raise BartTfError(f"no training could be traced: {'; '.join(failed.values())}")
        sources = [folder]
    made = chapter.of(sources)
    if saved:
        chapter.keep_summaries(sources, folder)
    page = chapter.write(made, folder)
    for finding in made.findings:
        reporter.say(f"does not add up: {finding}")
    typer.echo(f"tables: {page}")
    if failed:
        raise BartTfError(f"{len(failed)} traces failed: {', '.join(failed)}")


def _trace(
    config: Path,
    engine: list[str] | None,
    tracer: Literal["nsys", "cupti", "auto"],
    repeats: int,
    roofline: bool,
    output: Path | None,
    bart: Path | None,
    quiet: bool,
    verbose: bool,
) -> tuple[Path, dict[str, str]]:
    from bart_bridge.files import atomic
    from bart_bridge.tools.toolbox import Toolbox
    from compare.settings.experiment import load
    from compare.trace import profiler
    from compare.trace import roofline as rooflines

    experiment = load(config)
    for name in engine or []:
        if name not in experiment.engines:
            raise InputError(f"{config}: no engine '{name}' (found: {', '.join(experiment.engines)})")
    reporter = options.reporter(quiet, verbose)
    chosen = profiler.choose(tracer)
    reporter.say(f"tracer: {chosen.name}" + (f" ({chosen.note})" if chosen.note else ""))
    if roofline and (reason := rooflines.unusable()):
        raise BartTfError(f"--roofline: {reason}")
    folder = options.output_folder(output, experiment.name)
    names: list[str] = [name for name in experiment.engines if not engine or name in engine]
    try:
        failed = profiler.profile(experiment, folder, Toolbox.find(bart), reporter, chosen, names, repeats, roofline)
    except KeyboardInterrupt:
        raise BartTfError("interrupted; what was traced is kept, run the same command to continue") from None
    if roofline and not (folder / "profile" / rooflines.CEILINGS).exists():
        content = json.dumps(rooflines.measure_ceilings(), indent=1) + "\n"
        atomic.write_text(folder / "profile" / rooflines.CEILINGS, content)
    return folder / "profile", failed
