"""`bart-tf compare` and `bart-tf report`: whole experiments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.wording import counted
from compare.cli import jobs as submission
from compare.cli import options

if TYPE_CHECKING:
    from compare.running.worker import Outcome


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(compare)
    app.command()(report)


def compare(
    context: typer.Context,
    config: options.Config,
    output: options.Output = None,
    on: options.On = None,
    jobs: options.Jobs = None,
    bart: options.Bart = None,
    dry_run: options.DryRun = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write the loss of running trainings for TensorBoard.")
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train and apply every network on every engine, measure each run, and write the report.

    Completed steps are not repeated, so an interrupted comparison continues where
    it stopped. With --on slurm, the command submits the runs to a cluster and
    returns. Use 'bart-tf jobs' from then on. --dry-run only lists the steps. Time
    and memory are those of the same step in earlier runs on this machine, in this
    folder or the folders beside it.

    Example: [bold]bart-tf compare configs/demo.yaml[/bold]
    """
    from compare.report import experiment_report as reports
    from compare.results import divergences, table
    from compare.running import dry_run as dry
    from compare.running import live_loss, locks
    from compare.running.runner import Selection, plan, run
    from compare.settings.experiment import load
    from compare.trace import chapter

    if dry_run:
        options.refuse(context, "--dry-run looks at this machine and submits nothing", "on", "jobs")
        options.refuse(context, "--dry-run trains nothing", "tensorboard")
    if on:
        options.refuse(context, "only trainings of this command write for TensorBoard, not jobs", "tensorboard")
    if tensorboard:
        live_loss.check()
    if jobs and not on:
        raise InputError("--jobs needs --on local or --on slurm")
    experiment = load(config)
    folder = options.output_folder(output, experiment.name)
    reporter = options.reporter(quiet, verbose)
    toolbox = options.find_bart(bart, reporter)
    if toolbox.warning:
        reporter.say(f"warning: {toolbox.warning}")
    if toolbox.missing("measure"):
        reporter.say(f"warning: {toolbox.path} was built without 'measure': quality by BART's own measure will be n/a")
    if dry_run:
        steps = plan(experiment, folder, toolbox, reporter).plan()
        typer.echo("\n".join(dry.lines({"": steps}, experiment.device == "gpu")))
        return
    if on:
        submission.start(experiment, folder, on, jobs, bart, reporter)
        return
    with options.resumable():
        if tensorboard:
            reporter.say(f"live losses: tensorboard --logdir {folder / live_loss.FOLDER}")
        outcome = run(experiment, folder, toolbox, reporter, Selection(tensorboard=tensorboard))
        with locks.held(folder):
            table.write(experiment, folder, toolbox)
            page = reports.write(folder, chapter.for_report(folder))
    reporter.say(_summary(outcome))
    typer.echo(f"report: {page}")
    if outcome.failed:
        raise BartTfError(f"{counted(len(outcome.failed), 'step')} failed: {', '.join(outcome.failed)}")
    if outcome.not_run:
        raise BartTfError(f"{counted(len(outcome.not_run), 'step')} not run: {', '.join(outcome.not_run)}")
    if diverged := divergences.in_folder(folder):
        raise BartTfError(divergences.sentence(diverged))


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of an experiment or optimizer study, such as reports/demo.")],
) -> None:
    """Write the report of an experiment or optimizer study again from its results, without running anything.

    The exit code is 1 if a run diverged. The report names this run and shows the
    others.

    Example: [bold]bart-tf report reports/demo[/bold]
    """
    from compare.report import experiment_report as reports
    from compare.results import divergences
    from compare.running import locks
    from compare.running.run_files import STUDY
    from compare.study import report as study_report
    from compare.study import rows as study_rows
    from compare.trace import chapter

    folder = folder.absolute()
    is_study = (folder / STUDY).is_file()
    if not is_study and not (folder / "experiment.yaml").exists():
        raise InputError(f"{folder}: not an experiment's folder, there is no experiment.yaml")
    with locks.held(folder):
        page = (
            study_report.write(folder)
            if is_study
            else reports.write(folder, chapter.for_report(folder), keep_images=True)
        )
    typer.echo(f"report: {page}")
    if diverged := (study_rows.diverged(folder) if is_study else divergences.in_folder(folder)):
        raise BartTfError(divergences.sentence(diverged))


def _summary(outcome: Outcome) -> str:
    if not (outcome.computed or outcome.failed or outcome.not_run):
        return f"nothing to do: {counted(len(outcome.reused), 'step')} done before, the report was written again"
    not_run = f", {len(outcome.not_run)} not run" if outcome.not_run else ""
    done = counted(len(outcome.computed), "step")
    return f"{done} done, {len(outcome.reused)} done before, {len(outcome.failed)} failed{not_run}"
