"""Which runs of an experiment `bart-tf compare --on` and `bart-tf jobs resume` submit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.create import toolboxes_of
from compare.running import job_states, prepared_data, submit
from compare.running.job_states import State
from compare.running.runner import Part, all_parts, check_bart
from compare.settings.experiment import Experiment


@dataclass(frozen=True)
class Pending:
    """What is left to do for an experiment.

    Attributes:
        parts: Parts to submit.
        queued: States of the parts whose jobs wait or run already. They are not submitted again.
    """

    parts: list[Part]
    queued: list[State]


def prepare(
    experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, only: list[Part] | None = None
) -> Pending:
    """Prepare the dataset of an experiment, and find the parts that are neither complete nor in the queue.

    Args:
        experiment: The experiment, with the threads of its jobs (`submit.for_place`).
        folder: Its folder.
        toolbox: The default BART.
        reporter: Shows the progress of the preparation.
        only: Parts to choose from, even if they are complete. Default: all that are not.

    Raises:
        BartTfError: A BART that the parts need is unusable, or the dataset cannot be prepared.
    """
    needed = {engine for _, engine in (all_parts(experiment) if only is None else only)}
    names = [name for name in experiment.engines if name in needed]
    toolboxes = toolboxes_of(names, experiment.bart_binaries, toolbox, experiment.device)
    check_bart(experiment, folder, toolboxes)
    changed = prepared_data.changed_settings(experiment, folder)
    data = prepared_data.prepare(experiment, folder, toolbox, reporter)
    queued = [state for state in job_states.states(experiment, folder) if state.active]
    candidates = submit.outdated(experiment, folder, changed, data.identity) if only is None else only
    in_queue = {state.part for state in queued}
    return Pending([part for part in candidates if part not in in_queue], queued)


def check_settings(experiment: Experiment, folder: Path) -> None:
    """Reject a folder whose results belong to other settings than the experiment's.

    Raises:
        InputError: The settings differ.
    """
    # On Slurm, the cores that a job asks for are the threads, see `submit.for_place`.
    on_slurm = experiment.model_copy(update={"threads": experiment.threads or experiment.slurm.cpus})
    changed = prepared_data.changed_settings(experiment, folder)
    if changed and prepared_data.changed_settings(on_slurm, folder):
        raise InputError(f"{folder}: its results have other settings ({changed}); pass the folder itself to see them")
