"""What a step is, and the steps without a network; each step is worth keeping when the rest is lost."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge import baselines
from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_map_yx
from bart_bridge.tools.parallel import THREADS, usable_threads
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Advance
from compare.measuring import quality
from compare.running import determinants, records
from compare.running.prepared_data import PreparedData
from compare.running.records import DIVERGED
from compare.running.run_files import BASELINES_FOLDER, failure_record
from compare.settings.experiment import Experiment

# What belongs into the record of a step, by its keys there.
Details = dict[str, Any]
ZERO_FILLED = "zero-filled"
PHASES = ("initial", "train", "apply", "infer")
# The failure of a step whose input is missing begins with this.
NOT_RUN = "not run"


@dataclass(frozen=True)
class Step:
    """One step of an experiment.

    Attributes:
        title: Its title in the output.
        record: Path of its record.
        files: Patterns of the files beside the record that the step writes, or that follow from those.
        determinants: Returns everything the result depends on. It is called late, because other steps make some of it.
        version: Version, in the results, of the program that computes.
        threads: Number of threads of the computation.
        total: Number of units of progress.
        work: Does the step and returns the entries of its record.
        after: The step whose output this one needs; without that output it is not run.
        leaves: Output that others read: BART arrays, `.npz` and `.keras`. The step is repeated if one of them is
            missing or damaged.
        tries_again: Whether the step is done again if its last try diverged (default).
    """

    title: str
    record: Path
    files: tuple[str, ...]
    determinants: Callable[[], records.Determinants]
    version: str
    threads: int
    total: int
    work: Callable[[Advance], Details]
    after: Step | None = None
    leaves: tuple[Path, ...] = ()
    tries_again: bool = True

    def kept(self) -> records.Record | None:
        """Return the record of the step if it is done: its inputs are as they were, and nothing of it is missing."""
        record = records.read(self.record, self.determinants())
        return None if record is None or self.damage() else record

    def divergence(self) -> str:
        """Say how the last try diverged, of a step that is not tried again; empty if it is to be done."""
        if self.tries_again:
            return ""
        failure = records.read(failure_record(self.record), self.determinants()) or {}
        return str(failure["failed"]) if DIVERGED in failure else ""

    def damage(self) -> str:
        """Describe what is missing or damaged of the output; empty if nothing is."""
        for path in self.leaves:
            try:
                if path.suffix in (".npz", ".keras"):  # the name of an array may have a dot, as in bart-1.0
                    zipfile.ZipFile(path).close()  # the list of its content stands at the end
                else:
                    cfl.read(path)
            except (InputError, OSError, zipfile.BadZipFile) as error:
                return str(error) if isinstance(error, InputError) else f"{path} is missing or damaged"
        return ""


def baseline_names(experiment: Experiment) -> list[str]:
    """Name the reconstructions without a network, the zero-filled images first."""
    return [ZERO_FILLED, *dict.fromkeys(experiment.baselines)]


def baseline_steps(root: Path, experiment: Experiment, data: PreparedData, toolbox: Toolbox) -> list[Step]:
    """List the reconstructions without a network, which go to `root/references`."""
    folder = root / BASELINES_FOLDER
    test_count, validation_count = data.slice_counts["test"], data.slice_counts["validation"]
    threads = experiment.threads or usable_threads()
    toolbox = replace(toolbox, environment=toolbox.environment | dict.fromkeys(THREADS, str(threads)))
    steps = [
        Step(
            "zero-filled: reconstruct",
            folder / f"{ZERO_FILLED}.json",
            (f"{ZERO_FILLED}.*",),
            partial(determinants.of_zero_filled, data),
            "",
            threads,
            test_count,
            lambda advance: _zero_filled(data.dataset.split("test"), folder / ZERO_FILLED),
            leaves=(folder / ZERO_FILLED,),
        )
    ]
    for name in baseline_names(experiment)[1:]:
        baseline = baselines.BASELINES[name]

        def work(advance: Advance, name: str = name) -> Details:
            return _baseline(baselines.BASELINES[name], data, folder / name, toolbox, advance)

        title = f"{name}: choose its regularization on validation slices and reconstruct"
        depends = partial(determinants.of_baseline, name, data, toolbox)
        total = len(baseline.grid) * validation_count + test_count
        version = f"bart {'nufft' if name == 'gridding' else 'pics'} {toolbox.version_text}"
        record, leaves = folder / f"{name}.json", (folder / name,)
        steps.append(Step(title, record, (f"{name}.*",), depends, version, threads, total, work, leaves=leaves))
    return steps


def _zero_filled(split: Split, output: Path) -> Details:
    from tf_models.backend.channels import channels_to_complex
    from tf_models.training.network_inputs import network_inputs

    _write_images(output, channels_to_complex(network_inputs(split)["adjoint"]))
    return {}


def _baseline(
    baseline: baselines.Baseline, data: PreparedData, output: Path, toolbox: Toolbox, advance: Advance
) -> Details:
    test, validation = data.dataset.split("test"), data.dataset.split("validation")
    done = 0

    def on_slice() -> None:
        nonlocal done
        done += 1
        advance(done)

    reference = quality.combine_maps(validation.arrays()["reference"])

    def psnr(regularization: float) -> float:
        images = quality.combine_maps(baseline.reconstruct(validation, toolbox, regularization, on_slice))
        if not np.isfinite(images).all():
            return -np.inf
        return float(np.mean([quality.measures(*pair)["psnr"] for pair in zip(images, reference, strict=True)]))

    best = max(baseline.grid, key=psnr)
    _write_images(output, baseline.reconstruct(test, toolbox, best, on_slice))
    return {"regularization": best}


def _write_images(path: Path, images: NDArray[np.complex64]) -> None:
    quality.check_images(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    cfl.write(path, from_batch_map_yx(images))
