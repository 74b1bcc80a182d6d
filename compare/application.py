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
from bart_bridge.dataset import Split, check_filters
from bart_bridge.dims import from_batch_coil_yx, from_batch_map_yx
from bart_bridge.errors import InputError
from bart_bridge.settings import MemoryPlan, Network
from bart_bridge.simulate import sampling_pattern
from bart_bridge.toolbox import Toolbox
from compare import engines, figures, quality, results, tables
from compare.config import describe, engine_name
from compare.console import Reporter

# Width of the fully sampled centre relative to the image, about that of the published patterns.
_CENTRE = 0.1


def undersample(split: Split, acceleration: float, folder: Path) -> Split:
    """Give fully sampled data a random variable-density pattern, one for all slices, `FOLDER/pattern`.

    Raises:
        InputError: The acceleration is below 1, or the data are not Cartesian.
    """
    if split.trajectory:
        raise InputError(f"acceleration is for Cartesian k-space, {split.kspace} has the trajectory {split.trajectory}")
    if acceleration < 1:
        raise InputError(f"acceleration must be at least 1, received {acceleration:g}")
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
) -> str:
    """Reconstruct a split with trained runs.

    Args:
        runs: Run folders of `bart-tf train` or `bart-tf compare`.
        split: The slices.
        folder: Where `<run>.cfl`, and with a reference `quality.csv`, `quality.md` and `images.png`, go.
        toolbox: The BART to use.
        reporter: Tells a person what happens.
        memory: Memory plan of Keras runs; by default the one they were trained with.

    Returns:
        The quality table as Markdown, empty without a reference.

    Raises:
        InputError: A run folder holds no trained run.
        ToolError: An engine failed.
    """
    from tf_models.inputs import network_inputs, to_maps

    settings = [_settings(run) for run in runs]
    for _, _, network, _ in settings:
        check_filters(network, split)
    gridding.prepare(split, toolbox)
    zero_filled = to_maps(network_inputs(split)["adjoint"])
    images: results.Images = {("", "zero-filled", "apply"): quality.combine_maps(zero_filled)}
    cfl.write(folder / "zero-filled", from_batch_map_yx(zero_filled))
    for run, (trained_on, device, network, binary) in zip(runs, settings, strict=True):
        chosen = trained_on if memory is None or not trained_on.startswith("keras") else engine_name(trained_on, memory)
        engine = engines.create(chosen, device, Toolbox.find(binary) if binary else toolbox)
        output = folder / run.name
        with reporter.step(f"{run.name}: reconstruct", 1):
            engine.apply(folder, network, split, run / engine.weights_name, output)
        name = run.name.removesuffix(f"-{trained_on}")
        images[name, trained_on, "apply"] = results.read_images(output)
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
