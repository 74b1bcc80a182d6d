"""Apply trained runs to other data."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bart_bridge.data.dataset import Split, each_slice
from bart_bridge.data.patterns import sampling_pattern
from bart_bridge.errors import InputError, ToolError, first_fault
from bart_bridge.files import atomic, cfl, yaml_files
from bart_bridge.files.dims import from_batch_coil_yx, from_batch_map_yx
from bart_bridge.importers.source import fully_sampled
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import MemoryPlan, Network
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.base import Device, Engine
from compare.engines.create import create, toolbox_of
from compare.measuring import quality
from compare.report.figures.images import image_panel
from compare.report.tables import measured
from compare.results import images as reconstructions
from compare.results.rows import quality_rows
from compare.results.table_files import write_csv
from compare.running import locks
from compare.running.prepared_data import grid
from compare.running.run_files import failure_record
from compare.settings.engine_names import ENGINES, EngineName, KerasEngineName, is_bart, without_lowmem

# Width of the fully sampled centre relative to the image, about that of the published patterns.
_CENTRE = 0.1


def check_acceleration(split: Split, acceleration: float) -> None:
    """Check that a split can be undersampled by a factor.

    Raises:
        InputError: The acceleration is not from 1 to 1000, or the data are not Cartesian or not fully sampled, by the
            rule of an import.
    """
    if split.trajectory:
        raise InputError(f"acceleration is for Cartesian k-space, {split.kspace} has the trajectory {split.trajectory}")
    if not 1 <= acceleration <= 1000:
        raise InputError(f"acceleration must be from 1 to 1000, received {acceleration:g}")
    for number, (kspace, _, pattern) in enumerate(each_slice(split.arrays())):
        if not fully_sampled(np.any(kspace != 0, axis=0) & (pattern != 0)):
            raise InputError(
                "--acceleration needs fully sampled k-space, at most with zero-padded edges of equal width: "
                f"{split.kspace} is undersampled in slice {number}"
            )


def undersample(split: Split, acceleration: float, folder: Path) -> Split:
    """Give a split that passes `check_acceleration` one variable-density pattern for all slices, `FOLDER/pattern`."""
    y, x = split.arrays()["kspace"].shape[-2:]
    pattern = sampling_pattern(x, y, "random", acceleration, round(_CENTRE * min(x, y)), np.random.default_rng(0))
    cfl.write(folder / "pattern", from_batch_coil_yx(pattern[None, None].astype(np.complex64)))
    return replace(split, pattern=folder / "pattern")


@dataclass(frozen=True)
class ApplySettings:
    """How runs are applied.

    Attributes:
        memory: Memory plan of Keras runs; by default the one they were trained with.
        acceleration: Factor to undersample the split by, see `undersample`.
    """

    memory: MemoryPlan | None = None
    acceleration: float | None = None


def apply_runs(
    runs: list[Path],
    split: Split,
    folder: Path,
    toolbox: Toolbox,
    reporter: Reporter,
    settings: ApplySettings,
) -> tuple[str, dict[str, str]]:
    """Reconstruct a split with trained runs. One that fails is named, and the others go on.

    Nothing is written before all runs and the split are known to be usable.

    Args:
        runs: Run folders of `bart-tf train` or `bart-tf compare`.
        split: The slices.
        folder: Where `<run>.cfl`, and with a reference `quality.csv`, `quality.md` and `images.png`, go. Runs of one
            name have the names of folders above them in front, as many as tell them apart.
        toolbox: The BART to use.
        reporter: Tells a person what happens.
        settings: Memory plan and undersampling.

    Returns:
        The quality table as Markdown, empty without a reference; and what went wrong, by the label of the run.

    Raises:
        InputError: A folder is named twice or holds no run, or a memory plan is asked for and no run is one of Keras,
            or as for `check_acceleration`.
        ToolError: The zero-filled images are not usable.
        BusyError: Another process works on the folder.
    """
    appliers = _appliers(runs, toolbox, settings.memory)
    if settings.acceleration is not None:
        check_acceleration(split, settings.acceleration)
    for applier in appliers:
        check_filters(applier.network, split)
    with locks.held(folder, wait=False):
        if settings.acceleration is not None:
            split = undersample(split, settings.acceleration, folder)
        return _apply(appliers, grid(split, toolbox), folder, reporter)


@dataclass(frozen=True)
class _Applier:
    """A run to apply: its label, name and engine in the table, what applies it, its network and its folder."""

    label: str
    name: str
    trained_on: str
    engine: Engine
    network: Network
    run: Path


def _apply(appliers: list[_Applier], split: Split, folder: Path, reporter: Reporter) -> tuple[str, dict[str, str]]:
    from tf_models.backend.channels import channels_to_complex
    from tf_models.training.network_inputs import network_inputs

    zero_filled = channels_to_complex(network_inputs(split)["adjoint"])
    quality.check_images(zero_filled)
    images: reconstructions.Images = {("", "zero-filled", "apply"): quality.combine_maps(zero_filled)}
    cfl.write(folder / "zero-filled", from_batch_map_yx(zero_filled))
    failed: dict[str, str] = {}
    for applier in appliers:
        output, weights = folder / applier.label, applier.run / applier.engine.weights_name
        try:
            with reporter.step(f"{applier.label}: reconstruct", 1):
                _check_weights(applier.run, weights)
                applier.engine.apply(folder, applier.network, split, weights, output)
        except ToolError as error:
            reporter.say(f"{applier.label}: FAILED: {error}", level=-1)
            failed[applier.label] = str(error)
            # What is there must not pass for its images.
            for path in cfl.files(output):
                path.unlink(missing_ok=True)
            continue
        images[applier.name, applier.trained_on, "apply"] = reconstructions.read_images(output)
    if split.reference is None:
        reporter.say("no reference: images without a quality table")
        return "", failed
    return _compare(images, quality.combine_maps(split.arrays()["reference"]), folder), failed


def _check_weights(run: Path, weights: Path) -> None:
    """Reject a run without weights, with the reason if its training failed."""
    if weights.exists() or cfl.exists(weights):
        return
    try:
        reason = json.loads(failure_record(run / "train.json").read_text())["failed"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ToolError(f"{run}: there are no trained weights") from None
    raise ToolError(f"{run}: there are no trained weights, the training failed: {reason}")


def _compare(images: reconstructions.Images, reference: NDArray[np.complex64], folder: Path) -> str:
    import pandas as pd

    rows = list(quality_rows(images, reference))
    columns = ["engine", "network", "phase", "slice", "metric", "value", "unit", "definition"]
    write_csv(folder / "quality.csv", rows, columns)
    table = pd.DataFrame(rows, columns=columns)
    markdown = measured.quality(table).markdown()
    atomic.write_text(folder / "quality.md", markdown)
    panels = {reconstructions.REFERENCE: reference, **images}
    image_panel(panels, table, 0).savefig(folder / "images.png", dpi=130)
    return markdown


def _appliers(runs: list[Path], toolbox: Toolbox, memory: MemoryPlan | None) -> list[_Applier]:
    settings = [_settings(run) for run in runs]
    if memory and not any(KerasEngineName.parse(engine) for engine, *_ in settings):
        raise InputError("--memory: Keras has memory plans, and no run is one of Keras")
    labels = _labels(runs)
    names = [label.removesuffix(f"-{engine}") for label, (engine, *_) in zip(labels, settings, strict=True)]
    if len({(name, engine) for name, (engine, *_) in zip(names, settings, strict=True)}) < len(names):
        names = labels  # a copy of a run may be named as its network
    appliers = []
    for run, label, name, (trained_on, device, network, binary) in zip(runs, labels, names, settings, strict=True):
        keras = KerasEngineName.parse(trained_on)
        applied_by = str(replace(keras, memory_plan=memory)) if memory and keras else trained_on
        bart = toolbox_of(trained_on, {without_lowmem(trained_on): binary} if binary else {}, toolbox, device)
        engine = create(applied_by, device, bart)
        appliers.append(_Applier(label, name, trained_on, engine, network, run))
    return appliers


def _labels(runs: list[Path]) -> list[str]:
    """Name runs by the shortest ends of their paths that tell all runs apart."""
    resolved = [run.resolve() for run in runs]
    for run in resolved:
        if resolved.count(run) > 1:
            raise InputError(f"{run}: the run is named twice")
    for depth in range(1, max(len(run.parts) for run in runs) + 1):
        labels = ["-".join(part for part in run.parts[-depth:] if part not in {"/", "runs"}) for run in runs]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError(f"{runs[0]}: the paths of the runs do not tell them apart; rename one")


def _settings(run: Path) -> tuple[EngineName, Device, Network, Path | None]:
    """Read the engine, device and network of a run, and its BART binary if it has one of its own."""
    try:
        content = yaml_files.read(run / "run.yaml")
    except InputError as error:
        reason = str(error).removeprefix(f"{run}/")
        raise InputError(f"{run}: not the folder of a trained run ({reason})") from None
    try:
        network: Network = TypeAdapter(Network).validate_python(content["network"])
        engine, device, binary = content["engine"], content["device"], content.get("bart_binary")
        if engine not in ENGINES and not is_bart(str(engine)):
            raise InputError(f"{run / 'run.yaml'}: engine must be {', '.join(ENGINES)} or bart-..., found '{engine}'")
        if device not in get_args(Device):
            raise InputError(f"{run / 'run.yaml'}: device must be cpu or gpu, found '{device}'")
        return engine, device, network, binary
    except ValidationError as error:
        raise InputError(f"{run / 'run.yaml'}: {first_fault(error)}") from None
    except (KeyError, TypeError) as error:
        raise InputError(f"{run}: not the folder of a trained run ({' '.join(str(error).split())})") from None
