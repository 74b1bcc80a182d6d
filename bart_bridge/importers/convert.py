"""Write a source as a dataset folder, one slice at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import dataset
from bart_bridge.data.fourier import centred_ifft
from bart_bridge.errors import BartTfError, InputError, ToolError
from bart_bridge.importers.pattern_choice import PatternChoice, pattern_of
from bart_bridge.importers.sensitivities import coils_of
from bart_bridge.importers.slice_writer import SliceWriter
from bart_bridge.importers.source import Complex, Entry, Slice, Source
from bart_bridge.tools.toolbox import Toolbox

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Imported:
    """What an import has made.

    Attributes:
        slices: Number of slices of each split.
        shapes: Shape of each array of a slice: `(coil, y, x)`, of coils `(map, coil, y, x)`.
        sampled: Part of k-space that is sampled, 0 to 1, mean over all slices.
        left_out: How much was left out, by what it is.
    """

    slices: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    sampled: float
    left_out: dict[str, int]

    def __str__(self) -> str:
        """Say it in one line."""
        maps, coils, y, x = self.shapes["coils"]
        sets = f" in {maps} maps" if maps > 1 else ""
        counts = ", ".join(f"{count} for {split}" for split, count in self.slices.items())
        reference = "a reference" if "reference" in self.shapes else "no reference"
        return f"slices: {counts}; {x} x {y} pixels, {coils} coils{sets}, {self.sampled:.1%} sampled, {reference}"


def convert(
    source: Source,
    folder: Path,
    splits: dict[str, list[Entry]],
    pattern: PatternChoice,
    coils: str,
    toolbox: Callable[[], Toolbox],
    on_progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Make a dataset folder; it appears only when it is complete.

    The reference is that of the source or, of fully sampled data, the image that its coils combine to,
    sum_c conj(C_c) F^-1 y_c; of several maps, which `ecalib` makes orthonormal in each pixel, always this. K-space is
    stored as sampled by the pattern.

    Args:
        source: What is imported.
        folder: Where to; must not exist or be empty.
        splits: The slices of each split, from `source.split`.
        pattern: How they are sampled.
        coils: Coil sensitivities, see `sensitivities.coils_of`.
        toolbox: Finds BART; called only where it is needed.
        on_progress: Called with the number of slices that are done and that are wanted.

    Returns:
        What was made, and what was left out.

    Raises:
        InputError: The folder is not empty, or a slice is damaged or cannot have the pattern or coil sensitivities.
        ToolError: BART failed.
    """
    entries = [entry for unit in source.units.values() for entry in unit.values()]
    positions = {id(entry): position for position, entry in enumerate(entries)}
    used: list[Toolbox] = []

    def find() -> Toolbox:
        used.append(toolbox())
        return used[-1]

    sampled_by, coils_from = pattern_of(pattern, len(entries)), coils_of(coils, source, find)
    total, done = sum(map(len, splits.values())), 0
    if not total:
        raise InputError(f"{source.path}: there are no slices to import")
    description = _description(source, folder, splits, pattern, coils, used)
    taken = {id(entry) for chosen in splits.values() for entry in chosen}
    left_out = Counter(source.left_out) + Counter({"slices that no split takes": len(entries) - len(taken)})
    sampled_sum = 0.0
    with dataset.new_folder(folder, description) as temporary:
        expected: dict[str, tuple[int, ...]] = {}
        for split, chosen in splits.items():
            (temporary / split).mkdir()
            with ExitStack() as stack:
                writers: dict[str, SliceWriter] = {}
                for number, entry in enumerate(chosen):
                    item, arrays = _read(entry, split, number, positions[id(entry)], sampled_by, coils_from)
                    shapes = {name: values.shape for name, values in arrays.items()}
                    expected = expected or shapes
                    if shapes != expected:
                        raise InputError(f"{source.path}: slices must be alike, {_difference(entry, shapes, expected)}")
                    for name, values in arrays.items():
                        if name not in writers:
                            writers[name] = stack.enter_context(SliceWriter(temporary / split / name))
                        if name != "pattern" or number == 0 or not pattern.shared:
                            writers[name].append(values)
                    sampled_sum += np.count_nonzero(arrays["pattern"]) / arrays["pattern"].size
                    left_out += Counter(item.left_out)
                    done += 1
                    if on_progress:
                        on_progress(done, total)
        description["import"]["left_out"] = dict(left_out)
    return Imported({split: len(chosen) for split, chosen in splits.items()}, expected, sampled_sum / total, +left_out)


def _read(
    entry: Entry,
    split: str,
    number: int,
    position: int,
    sampled_by: Callable[[Slice, str, int, int], Complex],
    coils_from: Callable[[Slice, int], Complex],
) -> tuple[Slice, Arrays]:
    # What overflows is found by the checks; a warning would be a second message.
    with np.errstate(all="ignore"):
        item = entry.load()
        with _naming(f"slice {number} of {split}, {entry.name}"):
            _check(item.kspace, "k-space")
            sampled = sampled_by(item, split, number, position)
            return item, _arrays(item, coils_from(item, position), sampled)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say which slice an error is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except BartTfError as error:
        raise ToolError(f"{name}: {error}") from None


def _arrays(item: Slice, coils: Complex, pattern: Complex) -> Arrays:
    """Return what the dataset has of a slice, each array `(coil, y, x)`, coils `(map, coil, y, x)`."""
    if coils.shape[1:] != item.kspace.shape:
        found = coils.shape[1:]
        raise InputError(f"coil sensitivities must have the shape of k-space {item.kspace.shape}, found {found}")
    if pattern.shape != item.kspace.shape[1:]:
        raise InputError(f"the pattern must have the shape of k-space {item.kspace.shape[1:]}, found {pattern.shape}")
    arrays: Arrays = {"kspace": item.kspace * pattern, "coils": coils, "pattern": pattern[None]}
    if item.fully_sampled and (item.reference is None or len(coils) > 1):
        arrays["reference"] = np.sum(coils.conj() * centred_ifft(item.kspace), axis=1, keepdims=True)
    elif item.reference is not None:
        if len(coils) > 1:
            raise InputError(f"a reference of {len(coils)} maps is needed, that of the source is one image")
        arrays["reference"] = item.reference[None, None]
    for name, values in arrays.items():
        _check(values, f"'{name}'")
    return arrays


def _check(values: NDArray[Any], name: str) -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite, found NaN or infinity")
    if not values.any():
        raise InputError(f"{name} must not be zero everywhere")


def _difference(entry: Entry, shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> str:
    for name, shape in expected.items():
        if shapes.get(name) != shape:
            return f"'{name}' of {entry.name} has shape {shapes.get(name, 'none')} after {shape}"
    return f"{entry.name} has a reference, others have none"


def _description(
    source: Source,
    folder: Path,
    splits: dict[str, list[Entry]],
    pattern: PatternChoice,
    coils: str,
    used: list[Toolbox],
) -> dict[str, Any]:
    drawn = pattern.kind in {"regular", "random"}
    return {
        "name": folder.name,
        "source": f"imported from {source.kind}",
        "import": {
            "kind": source.kind,
            "path": str(source.path),
            **source.description,
            "pattern": vars(pattern) if drawn else pattern.kind,
            "coils": coils or ("source" if source.has_coils else "ecalib"),
        },
        **({"bart": used[0].version_text} if used else {}),
        "slices": {split: [entry.name for entry in entries] for split, entries in splits.items()},
    }
