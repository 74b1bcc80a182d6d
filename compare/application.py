"""Apply trained runs to data of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bart_bridge import cfl, gridding
from bart_bridge.dataset import Split, each_slice
from bart_bridge.dims import from_batch_coil_yx, from_batch_map_yx
from bart_bridge.errors import InputError
from bart_bridge.importers.sampling import fully_sampled
from bart_bridge.settings import MemoryPlan, Network
from bart_bridge.simulate import sampling_pattern
from bart_bridge.toolbox import Toolbox
from compare import engines, figures, quality, results, tables
from compare.config import describe, engine_name
from compare.console import Reporter
from compare.engines import Engine

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


def apply_runs(
    runs: list[Path],
    split: Split,
    folder: Path,
    toolbox: Toolbox,
    reporter: Reporter,
    memory: MemoryPlan | None = None,
    acceleration: float | None = None,
) -> str:
    """Reconstruct a split with trained runs; nothing is written before all that is named can be used.

    Args:
        runs: Run folders of `bart-tf train` or `bart-tf compare`.
        split: The slices.
        folder: Where `<run>.cfl`, and with a reference `quality.csv`, `quality.md` and `images.png`, go. Runs of one
            name have the names of folders above them in front, as many as tell them apart.
        toolbox: The BART to use.
        reporter: Tells a person what happens.
        memory: Memory plan of Keras runs; by default the one they were trained with.
        acceleration: Undersample the split, see `undersample`.

    Returns:
        The quality table as Markdown, empty without a reference.

    Raises:
        InputError: A folder is named twice or holds no trained run, or a memory plan is asked for and no run is one of
            Keras, or as for `check_acceleration`.
        ToolError: An engine failed.
    """
    from tf_models.inputs import network_inputs, to_maps

    if acceleration is not None:
        check_acceleration(split, acceleration)
    appliers = _appliers(runs, toolbox, memory)
    folder.mkdir(parents=True, exist_ok=True)
    if acceleration is not None:
        split = undersample(split, acceleration, folder)
    gridding.prepare(split, toolbox)
    zero_filled = to_maps(network_inputs(split)["adjoint"])
    images: results.Images = {("", "zero-filled", "apply"): quality.combine_maps(zero_filled)}
    cfl.write(folder / "zero-filled", from_batch_map_yx(zero_filled))
    for label, (name, trained_on, engine, network, weights) in appliers.items():
        with reporter.step(f"{label}: reconstruct", 1):
            engine.apply(folder, network, split, weights, folder / label)
        images[name, trained_on, "apply"] = results.read_images(folder / label)
    if split.reference is None:
        reporter.say("no reference: images without a quality table")
        return ""
    return _compare(images, quality.combine_maps(split.arrays()["reference"]), folder)


def _compare(images: results.Images, reference: NDArray[np.complex64], folder: Path) -> str:
    import pandas as pd

    rows = results.quality_rows(images, reference)
    table = pd.DataFrame(rows, columns=["engine", "network", "phase", "slice", "metric", "value", "unit", "definition"])
    table["network"] = table["network"].fillna("")
    cfl.write_text_atomically(folder / "quality.csv", table.to_csv(index=False))
    markdown = tables.quality(table).markdown()
    cfl.write_text_atomically(folder / "quality.md", markdown)
    shown = {("", "reference", ""): reference, **images}
    figures.image_panel(shown, table, 0).savefig(folder / "images.png", dpi=130)
    return markdown


def _appliers(
    runs: list[Path], toolbox: Toolbox, memory: MemoryPlan | None
) -> dict[str, tuple[str, str, Engine, Network, Path]]:
    """Return by the label of each run: name and engine in the table, what applies it, its network and its weights."""
    settings = [_settings(run) for run in runs]
    if memory and not any(engine.startswith("keras-") for engine, *_ in settings):
        raise InputError("--memory: Keras has memory plans, and no run is one of Keras")
    labels = _labels(runs)
    names = [label.removesuffix(f"-{engine}") for label, (engine, *_) in zip(labels, settings, strict=True)]
    if len({(name, engine) for name, (engine, *_) in zip(names, settings, strict=True)}) < len(names):
        names = labels  # a copy of a run may be named as its network
    appliers = {}
    for run, label, name, (trained_on, device, network, binary) in zip(runs, labels, names, settings, strict=True):
        chosen = trained_on if memory is None or not trained_on.startswith("keras") else engine_name(trained_on, memory)
        engine = engines.create(chosen, device, Toolbox.find(binary) if binary else toolbox)
        appliers[label] = (name, trained_on, engine, network, run / engine.weights_name)
    return appliers


def _labels(runs: list[Path]) -> list[str]:
    """Name runs by the ends of their paths, as much of these as tells all runs apart."""
    places = [run.resolve() for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise InputError(f"{place}: the run is named twice")
    for depth in range(1, max(len(run.parts) for run in runs) + 1):
        labels = ["-".join(part for part in run.parts[-depth:] if part not in {"/", "runs"}) for run in runs]
        if len(set(labels)) == len(labels):
            return labels
    raise InputError(f"{runs[0]}: the paths of the runs do not tell them apart; rename one")


def _settings(run: Path) -> tuple[Any, Any, Network, Any]:
    """Read engine, device, network and, where it is not the one in use, BART binary of a run."""
    try:
        content = yaml.safe_load((run / "run.yaml").read_text())
        network: Network = TypeAdapter(Network).validate_python(content["network"])
        return content["engine"], content["device"], network, content.get("bart_binary")
    except ValidationError as error:
        raise InputError(f"{run / 'run.yaml'}: {describe(error)}") from None
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise InputError(f"{run}: not the folder of a trained run ({' '.join(str(error).split())})") from None
