"""`bart-tf jobs`: the jobs that `bart-tf compare --on` submitted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.wording import counted
from compare.cli import options

if TYPE_CHECKING:
    from compare.console import Reporter
    from compare.running.job_states import State
    from compare.settings.experiment import Experiment

Target = Annotated[
    Path,
    typer.Argument(
        help="Experiment: its YAML file, or its folder, such as reports/demo, or its name if it is built in.",
        callback=options.find_config,
        autocompletion=options.builtin_names,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    jobs = typer.Typer(
        no_args_is_help=True, help="Watch, cancel, resume and collect the jobs that 'compare --on' submitted."
    )
    for command in (status, cancel, resume, collect):
        jobs.command()(command)
    app.add_typer(jobs, name="jobs")


def status(target: Target, output: options.Output = None) -> None:
    """Show the progress of each run, and the last lines of those that failed or stopped.

    Example: [bold]bart-tf jobs status configs/demo.yaml[/bold]
    """
    from compare.running.job_states import states
    from compare.running.pending import check_settings

    experiment, folder = _open(target, output)
    check_settings(experiment, folder)
    show(states(experiment, folder))


def cancel(target: Target, output: options.Output = None) -> None:
    """Cancel all waiting and running jobs. Finished results stay, and Keras trainings leave a checkpoint.

    Example: [bold]bart-tf jobs cancel configs/demo.yaml[/bold]
    """
    from compare.running import job_states

    _, folder = _open(target, output)
    ended = job_states.cancel(folder)
    typer.echo(f"cancelled: {', '.join(job.job_id for job in ended) or 'nothing, no job waits or runs'}")


def resume(
    target: Target,
    output: options.Output = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a run, as 'status' shows it. Default: all.")] = None,
    on: options.On = None,
    jobs: options.Jobs = None,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Submit all runs that failed, stopped or were never submitted. They continue from their last checkpoint.

    Example: [bold]bart-tf jobs resume configs/demo.yaml --only modl-bart[/bold]
    """
    from compare.running.submit import find_part, submitted

    experiment, folder = _open(target, output)
    earlier = submitted(folder)
    if not on and not earlier:
        raise InputError(f"{folder}: nothing was submitted yet; --on local or --on slurm is needed")
    last = earlier[-1] if earlier else None
    parts = [find_part(experiment, name) for name in dict.fromkeys(only)] if only else None
    bart = bart or (Path(last.bart) if last and last.bart else None)
    start(experiment, folder, on or (last.on if last else "local"), jobs, bart, options.reporter(quiet, verbose), parts)


def collect(target: Target, output: options.Output = None, bart: options.Bart = None) -> None:
    """Collect the records of all machines into the table and the report, and list the runs that are missing.

    Example: [bold]bart-tf jobs collect configs/demo.yaml[/bold]
    """
    from compare.running.pending import check_settings

    experiment, folder = _open(target, output)
    if not (folder / "experiment.yaml").exists():
        raise InputError(f"{folder}: not an experiment's folder, there is no experiment.yaml")
    check_settings(experiment, folder)
    gather(experiment, folder, bart)


def _open(target: Path, output: Path | None) -> tuple[Experiment, Path]:
    """Return the experiment and its folder, given either its YAML file or its folder."""
    from compare.settings.experiment import load, load_kept

    if target.is_dir():
        if output:
            raise InputError(f"--output: {target} is an experiment's folder already")
        if not (target / "experiment.yaml").exists():
            raise InputError(f"{target}: not an experiment's folder, there is no experiment.yaml")
        return load_kept(target / "experiment.yaml"), target.absolute()
    experiment = load(target)
    return experiment, options.output_folder(output, experiment.name)


def start(
    experiment: Experiment,
    folder: Path,
    on: options.Place,
    at_once: int | None,
    bart: Path | None,
    reporter: Reporter,
    only: list[tuple[str, str]] | None = None,
) -> None:
    """Submit the runs that are neither complete nor in the queue.

    On this machine, wait for them and collect the results. On Slurm, return.
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.running import job_states, pending, submit

    experiment = submit.for_place(experiment, on)
    left = pending.prepare(experiment, folder, Toolbox.find(bart), reporter, only)
    for state in left.queued:
        reporter.say(f"{state.name}: {state.state} as job {state.job.job_id if state.job else ''}, not submitted again")
    if not left.parts:
        typer.echo("nothing to submit; see 'bart-tf jobs status' and 'bart-tf jobs collect'")
        return
    # The jobs may be resumed from another folder.
    bart = bart and bart.expanduser().absolute()
    jobs = submit.submit(experiment, folder, left.parts, on, bart, at_once)
    typer.echo(f"submitted: {counted(len(left.parts), 'run')} as {', '.join(job.job_id for job in jobs)}")
    typer.echo(f"next: bart-tf jobs status {folder}; when all is done: bart-tf jobs collect {folder}")
    if on == "local":
        with options.resumable():
            job_states.wait(jobs)
        show(job_states.states(experiment, folder))
        gather(experiment, folder, bart)


def show(states: list[State]) -> None:
    """Print a line for each run, and details of those that failed or stopped."""
    width = max(len(state.name) for state in states)
    for state in states:
        job = f"  job {state.job.job_id} on {state.job.on}" if state.job else ""
        typer.echo(f"{state.name:{width}}  {state.state:13}  {state.steps} of {counted(state.total, 'step')}{job}")
        for line in state.detail:
            typer.echo(f"{'':{width}}    {line}")


def gather(experiment: Experiment, folder: Path, bart: Path | None) -> None:
    """Write the table and the report from all records.

    Raises:
        BartTfError: A run is not complete.
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.report import experiment_report as reports
    from compare.results import table
    from compare.running import locks
    from compare.running import submit as jobs
    from compare.trace import chapter

    with locks.held(folder):
        table.write(experiment, folder, Toolbox.find(bart))
        page = reports.write(folder, chapter.for_report(folder))
    typer.echo(f"report: {page}")
    missing = [jobs.part_name(part) for part in jobs.missing(experiment, folder)]
    if missing:
        runs = "1 run is" if len(missing) == 1 else f"{len(missing)} runs are"
        raise BartTfError(f"{runs} not complete: {', '.join(missing)}")
