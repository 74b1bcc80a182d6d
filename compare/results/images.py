"""The images of an experiment: the references of the test slices and their reconstructions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_map_yx
from compare.measuring import quality
from compare.running.run_files import BASELINES_FOLDER, Run
from compare.running.steps import baseline_names
from compare.settings.experiment import Experiment

Key = tuple[str, str, str]
Images = dict[Key, NDArray[np.complex64]]
REFERENCE: Key = ("", "reference", "")


def open_readable_images(experiment: Experiment, folder: Path) -> tuple[Images, list[str]]:
    """Open the images as `open_images` does, but leave out those that are damaged or missing.

    Returns:
        The images, and why others are left out. Without the reference there are no images.
    """
    try:
        reference = test_references(experiment, folder)
    except (InputError, OSError) as error:
        return {}, [str(error)]
    opened, faults = {REFERENCE: reference}, []
    for key, path in _image_files(experiment, folder):
        try:
            image = read_images(path)
        except (InputError, OSError) as error:
            faults.append(str(error))
            continue
        if image.shape == reference.shape:
            opened[key] = image
        else:
            faults.append(f"{path}: must have the shape of the reference, {reference.shape}, found {image.shape}")
    return opened, faults


def open_images(experiment: Experiment, folder: Path) -> Images:
    """Open the images of the test slices that exist, `(batch, y, x)` complex64, by (network, engine, phase).

    The reference has the key `REFERENCE`.
    """
    opened = {REFERENCE: test_references(experiment, folder)}
    return opened | {key: read_images(path) for key, path in _image_files(experiment, folder) if cfl.exists(path)}


def _image_files(experiment: Experiment, folder: Path) -> Iterator[tuple[Key, Path]]:
    """Yield key and path of the images of each finished step. What a failed step left behind does not count."""
    for name in baseline_names(experiment):
        if baseline_record(folder, name).exists():
            yield ("", name, "apply"), folder / BASELINES_FOLDER / name
    for run in runs(experiment, folder):
        for phase in ("initial", "apply"):
            if run.record(phase).exists():
                yield (run.name, run.engine, phase), run.images(phase)


def test_references(experiment: Experiment, folder: Path) -> NDArray[np.complex64]:
    """Open the reference images of the test slices, `(batch, y, x)` complex64."""
    dataset = Dataset.open(experiment.dataset.folder or folder / "dataset")
    return quality.combine_maps(dataset.split("test").arrays()["reference"])


def read_images(path: Path) -> NDArray[np.complex64]:
    """Open the images in a BART file as `(batch, y, x)`; the images of several maps are combined."""
    return quality.combine_maps(to_batch_map_yx(cfl.read(path)))


def runs(experiment: Experiment, folder: Path, repeats: int = 1) -> list[Run]:
    """List the runs of an experiment, network by network: the first run of each, or up to `repeats` of them."""
    return [Run(folder, name, engine, repeat) for name, engine in experiment.runs() for repeat in range(repeats)]


def baseline_record(folder: Path, name: str) -> Path:
    """Return the path of the record of a reconstruction without a network."""
    return folder / BASELINES_FOLDER / f"{name}.json"
