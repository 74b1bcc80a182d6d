"""What an optimizer study trains, part by part: all candidates, then each seed on each engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bart_bridge.tools.toolbox import Toolbox
from compare.engines.create import create, toolboxes_of
from compare.running.prepared_data import refuse_foreign
from compare.running.run_files import STUDY
from compare.running.runner import check_bart
from compare.settings.engine_names import EngineName
from compare.settings.experiment import DatasetChoice, Experiment
from compare.study.choices import on
from compare.study.settings import Study, candidates, experiment
from compare.study.tuning import Choice, chosen


@dataclass(frozen=True)
class Part:
    """Trainings of one seed on one engine, their folder, and the experiment that the folder keeps."""

    experiment: Experiment
    folder: Path
    settings: Experiment


def checked_toolboxes(study: Study, folder: Path, toolbox: Toolbox) -> dict[EngineName, Toolbox]:
    """Return the BART of each engine, after checking that all engines can run in a folder.

    Raises:
        InputError: An engine cannot use the device, or the folder has other people's files.
        ToolError: A BART is missing or has no `reconet`.
    """
    refuse_foreign(folder, STUDY)
    toolboxes = toolboxes_of(study.engines, {}, toolbox, study.device)
    for name, bart in toolboxes.items():
        create(name, study.device, bart)
    check_bart(tuning_part(study, folder).experiment, folder, toolboxes)
    return toolboxes


def tuning_part(study: Study, folder: Path) -> Part:
    """Return the trainings of all candidates, by which the settings are chosen."""
    tuning = experiment(study, study.seeds[0], [study.tuned_on], candidates(study))
    return Part(tuning, folder / "tuning", tuning)


def seed_parts(study: Study, folder: Path, choices: Mapping[str, Choice], refused: Collection[str]) -> Iterator[Part]:
    """Yield what is trained with the chosen settings, by seed and engine.

    Args:
        study: The study.
        folder: Its folder.
        choices: The chosen settings, see `compare.study.tuning.choose`.
        refused: What engines cannot train, see `compare.study.tuning.refusals`.
    """
    tuning = tuning_part(study, folder)
    if study.dataset.simulate is not None:
        study = study.model_copy(update={"dataset": DatasetChoice(folder=tuning.folder / "dataset")})
    trained = chosen(study, choices)
    for seed in study.seeds:
        for engine in study.engines:
            if engine == study.tuned_on and seed == tuning.experiment.seed:
                # They were trained to choose.
                names = [f"{name}-{choices[name]['candidates'].index(choices[name]['chosen'])}" for name in trained]
                networks = {name: tuning.experiment.networks[name] for name in names}
                yield Part(tuning.experiment.model_copy(update={"networks": networks}), tuning.folder, tuning.settings)
                continue
            networks = {name: network for name, network in trained.items() if on(name, engine) not in refused}
            if networks:
                settings = experiment(study, seed, [engine], networks)
                yield Part(settings, folder / f"seed{seed}-{engine}", settings)
