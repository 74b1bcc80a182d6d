"""What `bart-tf optimizers --dry-run` says: the steps of all parts of a study, before any of them runs.

The settings of an optimizer are not known until all its candidates are trained. Until then, a step that needs them
stands for the steps with each candidate: it has the longest of their times and the largest of their memories.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.base import Engine
from compare.engines.create import create
from compare.running import dry_run, prepared_data, runner
from compare.running.earlier_runs import EarlierRuns, as_before
from compare.running.prepared_data import PreparedData
from compare.running.schedule import DONE, MISSING, PlannedStep, Schedule
from compare.running.steps import Step
from compare.settings.engine_names import EngineName
from compare.study.parts import Part, checked_toolboxes, seed_parts, tuning_part
from compare.study.rows import parts_of
from compare.study.settings import Study
from compare.study.tuning import NONE_FINITE, Choice, choice, refusals, tuned

_NOT_CHOSEN = "settings not chosen yet"
# A step after the tuning: the heading of its part, its network and optimizer `<network>-<optimizer>`, and its phase.
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Tuning:
    """How far the tuning is.

    Attributes:
        steps: The training of each candidate, by its name.
        choices: What was chosen, for all whose candidates are trained.
        possible: The candidates of the others that may still be chosen.
    """

    steps: dict[str, Step]
    choices: dict[str, Choice]
    possible: dict[str, list[Choice]]

    def assumptions(self) -> Iterator[dict[str, Choice]]:
        """Yield choices for all, until each possible one was among them."""
        for number in range(max(map(len, self.possible.values()), default=1)):
            yield self.choices | {name: each[number % len(each)] for name, each in self.possible.items()}

    def is_open(self, name: str) -> bool:
        """Return whether the settings of a network and optimizer are still to be chosen, of several."""
        return len(self.possible.get(name, ())) > 1


@dataclass(frozen=True)
class _Programs:
    """What makes the steps of a study: the default BART, the engines, and the dataset of all parts."""

    toolbox: Toolbox
    engines: Mapping[EngineName, Engine]
    data: PreparedData

    def steps(self, part: Part, network: str, *phases: str) -> list[Step]:
        """List the steps of one of the networks of a part."""
        only = part.experiment.model_copy(update={"networks": {network: part.experiment.networks[network]}})
        engines = [self.engines[name] for name in part.experiment.engines]
        selection = runner.Selection(phases=phases, retry_diverged=False)
        return runner.steps_of(part.folder, only, (self.toolbox, engines), self.data, selection)


def lines(study: Study, folder: Path, toolbox: Toolbox, reporter: Reporter) -> list[str]:
    """List the steps of a study with time and memory, then the sums, without running, writing or locking anything.

    Args:
        study: The study.
        folder: Its folder, which need not exist.
        toolbox: As for `compare.study.run.run`.
        reporter: Shows warnings.

    Raises:
        InputError: The dataset is not usable, an engine cannot use the device, or the folder has other people's files.
        ToolError: A BART is missing or has no `reconet`.
    """
    toolboxes = checked_toolboxes(study, folder, toolbox)
    part = tuning_part(study, folder)
    data = prepared_data.look(part.experiment, part.folder, toolbox, reporter)
    runner.warn_of_slow_builds(toolbox, toolboxes, reporter)
    engines = {name: create(name, study.device, bart) for name, bart in toolboxes.items()}
    programs = _Programs(toolbox, engines, data)
    tuning = _tuning(study, part, programs)
    earlier = EarlierRuns(
        folder, part.experiment, as_before(folder, runner.description(part.experiment, toolbox, toolboxes))
    )
    refused, plans = [], []
    for choices in tuning.assumptions():
        refused.append(refusals(study, choices, toolboxes))
        steps = _later(seed_parts(study, folder, choices, refused[-1]), programs, tuning)
        plan = Schedule([*tuning.steps.values(), *steps.values()], earlier).plan()
        plans.append(dict(zip(steps, plan[len(tuning.steps) :], strict=True)))
    parts = {f"choosing the settings, seed {study.seeds[0]} on {study.tuned_on}": plan[: len(tuning.steps)]}
    for key in dict.fromkeys(key for later in plans for key in later):
        heading, name, _ = key
        same = [later[key] for later in plans if key in later]
        parts.setdefault(heading, []).append(_one_of(same, name) if tuning.is_open(name) else same[0])
    return dry_run.lines(parts, study.device == "gpu", _notes(tuning, refused))


def _tuning(study: Study, part: Part, programs: _Programs) -> _Tuning:
    """Find out which candidates are trained, and what is chosen where all are."""
    steps = {name: programs.steps(part, name, "train")[0] for name in part.experiment.networks}
    choices: dict[str, Choice] = {}
    possible: dict[str, list[Choice]] = {}
    for name, _, algorithm in tuned(study):
        grid = study.optimizers[algorithm]
        trainings = [steps[f"{name}-{number}"] for number in range(len(grid))]
        if all(step.divergence() or step.kept() is not None for step in trainings):
            choices[name] = choice(study, part.folder, name, algorithm)
        else:
            left = [candidate for candidate, step in zip(grid, trainings, strict=True) if not step.divergence()]
            possible[name] = [{"candidates": grid, "chosen": candidate} for candidate in left]
    return _Tuning(steps, choices, possible)


def _later(parts: Iterable[Part], programs: _Programs, tuning: _Tuning) -> dict[_Key, Step]:
    """List the steps of parts that are not steps of the tuning."""
    later = {}
    for part in parts:
        heading = f"seed {part.experiment.seed} on {part.experiment.engines[0]}"
        if tuning.steps.keys() & part.experiment.networks.keys():
            heading += ", trained above"
        for candidate in part.experiment.networks:
            for step in programs.steps(part, candidate, "train", "apply"):
                is_of_tuning = candidate in tuning.steps and step.after is None
                if not is_of_tuning and not (step.after and step.after.divergence()):
                    later[heading, "-".join(parts_of(candidate)), step.record.stem] = step
    return later


def _one_of(steps: Sequence[PlannedStep], name: str) -> PlannedStep:
    """Return one step for several, one of which is done once the settings of a network and optimizer are chosen."""
    left = [(step, step.estimate) for step in steps if step.estimate]
    if not left:
        return steps[0]
    longest, estimate = max(left, key=lambda each: float("inf") if each[1].seconds is None else each[1].seconds)
    engine = longest.title.partition(": ")[0].rpartition(" on ")[2]
    what = " or ".join(dict.fromkeys(step.title.partition(": ")[2] for step in steps))
    largest = replace(
        estimate,
        peak_bytes=_largest([each.peak_bytes for _, each in left]),
        gpu_bytes=_largest([each.gpu_bytes for _, each in left]),
    )
    return PlannedStep(f"{name} on {engine}: {what}, {_NOT_CHOSEN}", _state_of(steps), largest)


def _state_of(steps: Sequence[PlannedStep]) -> str:
    """Return the state that all steps have, or what is known of it if they differ."""
    states = {step.state for step in steps}
    if len(states) == 1:
        return states.pop()
    if DONE in states:
        return "done if the settings of before are chosen"
    return "again" if all(state.startswith("again") for state in states) else MISSING


def _largest(sizes: Sequence[int | None]) -> int | None:
    """Return the largest of several sizes; None if one is unknown."""
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None


def _notes(tuning: _Tuning, refused: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what a run does not train, and what is not known.

    Args:
        tuning: How far the tuning is.
        refused: What engines cannot train, for each of the assumed choices.
    """
    notes = []
    if any(map(tuning.is_open, tuning.possible)):
        notes.append(
            f"{_NOT_CHOSEN}: a run takes the best candidate when all are trained; time and memory are the largest of "
            "those that may be chosen"
        )
    for name, chosen in tuning.choices.items():
        if chosen["chosen"] is None:
            notes.append(f"not trained: {name}: no candidate {NONE_FINITE}")
    for name in dict.fromkeys(name for each in refused for name in each):
        reasons = [each[name] for each in refused if name in each]
        certain = "not trained" if len(reasons) == len(refused) else "not trained with some candidates"
        notes.append(f"{certain}: {name}: {reasons[0]}")
    return notes
