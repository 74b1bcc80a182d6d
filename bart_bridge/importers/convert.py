"""Write a source as a dataset folder, one slice at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import dataset
from bart_bridge.data.fourier import centred_ifft
from bart_bridge.errors import BartTfError, InputError, ToolError
from bart_bridge.files import dims
from bart_bridge.importers.partial_fourier import one_sided_gaps
from bart_bridge.importers.pattern_choice import PatternChoice, pattern_of
from bart_bridge.importers.sensitivities import coils_of
from bart_bridge.importers.slice_writer import SliceWriter, ToBart
from bart_bridge.importers.source import Complex, Entry, Slice, Source
from bart_bridge.tools.toolbox import Toolbox
from bart_bridge.wording import counted

Arrays = dict[str, Complex]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class ImportPlan:
    """What is imported from a source, and how.

    Attributes:
        splits: The slices of each split, from `Source.split`.
        pattern: Sampling pattern (default: the pattern of the source).
        coils: Coil sensitivities, see `bart_bridge.importers.sensitivities.coils_of` (default: those of the source, or
            else `ecalib`).
    """

    splits: dict[str, list[Entry]]
    pattern: PatternChoice = field(default_factory=PatternChoice)
    coils: str = ""


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        slices: Number of slices of each split.
        shapes: Shape of each array of a slice: `(coil, y, x)`, and `(map, coil, y, x)` for the coils.
        sampled: Fraction of k-space that is sampled, 0 to 1, mean over all slices.
        left_out: Counts of what was left out, by description.
        notes: Facts about the slices, such as partial Fourier, with the number of slices that they hold for.
    """

    slices: dict[str, int]
    shapes: dict[str, Shape]
    sampled: float
    left_out: dict[str, int]
    notes: dict[str, int]

    def __str__(self) -> str:
        """Describe the result in one line."""
        maps, coils, y, x = self.shapes["coils"]
        spokes, samples = self.shapes["kspace"][-2:]
        sampled = f"{self.sampled:.1%} sampled (acceleration {1 / self.sampled:.3g})"
        sampled = (
            f"{counted(spokes, 'spoke')} of {counted(samples, 'sample')}" if "trajectory" in self.shapes else sampled
        )
        sets = f" in {maps} maps" if maps > 1 else ""
        counts = ", ".join(f"{count} for {split}" for split, count in self.slices.items())
        reference = "a reference" if "reference" in self.shapes else "no reference"
        return f"slices: {counts}; {x} x {y} pixels, {counted(coils, 'coil')}{sets}, {sampled}, {reference}"


def convert(
    source: Source,
    folder: Path,
    plan: ImportPlan,
    find_toolbox: Callable[[], Toolbox],
    on_progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Write a dataset folder, which appears only when it is complete.

    K-space is stored as sampled by the pattern. If it is fully sampled and the source has no reference, the reference
    is the coil combination sum_c conj(C_c) F^-1 y_c. Several maps, which `ecalib` makes orthonormal in each pixel,
    always need this combination.

    Args:
        source: The source.
        folder: The new dataset folder. It must not exist, or must be empty.
        plan: What is imported, and how.
        find_toolbox: Finds BART; called only if it is needed.
        on_progress: Called after each slice with the number of finished slices and of all slices.

    Raises:
        InputError: The folder is not empty, or a slice is damaged or does not fit its pattern or coil sensitivities.
        ToolError: BART failed.
    """
    running = _Import(source, plan, find_toolbox)
    description = running.description(folder)
    with dataset.new_folder(folder, description) as temporary:
        for split in plan.splits:
            running.write_split(temporary / split, on_progress)
        description["import"]["left_out"] = dict(running.left_out)
    return running.result()


class _Import:
    """An import in progress."""

    def __init__(self, source: Source, plan: ImportPlan, find_toolbox: Callable[[], Toolbox]) -> None:
        entries = [entry for unit in source.units.values() for entry in unit.values()]
        self._source, self._plan = source, plan
        self._positions = {id(entry): position for position, entry in enumerate(entries)}
        self._toolbox: Toolbox | None = None

        def find() -> Toolbox:
            self._toolbox = find_toolbox()
            return self._toolbox

        self._pattern_of, self._coils_of = pattern_of(plan.pattern, len(entries)), coils_of(plan.coils, source, find)
        self._total, self._done = sum(map(len, plan.splits.values())), 0
        if not self._total:
            raise InputError(f"{source.path}: there are no slices to import")
        taken = {id(entry) for split in plan.splits.values() for entry in split}
        unused = {"slices that no split takes": len(entries) - len(taken)}
        self.left_out = Counter(source.left_out) + Counter(unused)
        self._notes: Counter[str] = Counter()
        self._shapes: dict[str, Shape] = {}
        self._sampled = 0.0

    def description(self, folder: Path) -> dict[str, Any]:
        """Return the content of `dataset.yaml`."""
        source, pattern = self._source, self._plan.pattern
        return {
            "name": folder.name,
            "source": f"imported from {source.kind}",
            "import": {
                "kind": source.kind,
                "path": str(source.path),
                **source.description,
                "pattern": vars(pattern) if pattern.kind in {"regular", "random"} else pattern.kind,
                "coils": self._plan.coils or ("source" if source.has_coils else "ecalib"),
            },
            **({"bart": self._toolbox.version_text} if self._toolbox else {}),
            "slices": {split: [entry.name for entry in entries] for split, entries in self._plan.splits.items()},
        }

    def write_split(self, folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
        """Write the arrays of the split that the folder is named after."""
        folder.mkdir()
        writers: dict[str, SliceWriter] = {}
        with ExitStack() as stack:
            for number, entry in enumerate(self._plan.splits[folder.name]):
                item, arrays = self._read(entry, folder.name, number)
                for name, values in arrays.items():
                    if name not in writers:
                        writer = SliceWriter(folder / name, *_layout(name, values, "trajectory" in arrays))
                        writers[name] = stack.enter_context(writer)
                    if name != "pattern" or number == 0 or not self._plan.pattern.shared:
                        writers[name].append(values)
                self._sampled += np.count_nonzero(arrays["pattern"]) / arrays["pattern"].size
                self.left_out += Counter(item.left_out)
                self._notes.update((*one_sided_gaps(_measured(item), item.axes), *item.notes))
                self._done += 1
                if on_progress:
                    on_progress(self._done, self._total)

    def result(self) -> Imported:
        """Summarize the finished import."""
        counts = {split: len(entries) for split, entries in self._plan.splits.items()}
        return Imported(counts, self._shapes, self._sampled / self._total, +self.left_out, dict(self._notes))

    def _read(self, entry: Entry, split: str, number: int) -> tuple[Slice, Arrays]:
        position = self._positions[id(entry)]
        # The checks report values that overflow; a warning would be a second message.
        with np.errstate(all="ignore"):
            item = entry.load()
            with _naming(f"slice {number} of {split}, {entry.name}"):
                _check(item.kspace, "k-space", "; --slices or --split can leave such slices out")
                pattern = self._pattern_of(item, split, number, position)
                sampled = _sampled(item.kspace, pattern, self._plan.pattern.kind)
                arrays = _arrays(item, self._coils_of(item, position), pattern, sampled)
        shapes = {name: values.shape for name, values in arrays.items()}
        self._shapes = self._shapes or shapes
        if shapes != self._shapes:
            difference = _difference(entry, shapes, self._shapes)
            raise InputError(f"{self._source.path}: slices must be alike, {difference}")
        return item, arrays


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Add the name of the slice to errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except BartTfError as error:
        raise ToolError(f"{name}: {error}") from None


def _sampled(kspace: Complex, pattern: Complex, kind: str) -> Complex:
    """Return k-space as sampled by the pattern. The pattern of the data is a part of them already, as are its weights.

    A product with 1 could change the sign of a zero, and an import of an export is the same bit for bit.
    """
    if pattern.shape != kspace.shape[1:]:
        raise InputError(f"the pattern must have the shape of k-space {kspace.shape[1:]}, found {pattern.shape}")
    unchanged = (pattern == 1) | (kspace == 0) | ((pattern != 0) & (kind == "source"))
    return np.where(unchanged, kspace, kspace * pattern)


def _arrays(item: Slice, coils: Complex, pattern: Complex, kspace: Complex) -> Arrays:
    """Return the arrays of a slice in the dataset, `(coil, y, x)` each, and `(map, coil, y, x)` for the coils."""
    if coils.shape[1:] != item.image_shape:
        shapes = f"{item.image_shape}, found {coils.shape[1:]}"
        what = "k-space" if item.trajectory is None else "the coil images"
        raise InputError(f"coil sensitivities must have the shape of {what} {shapes}")
    arrays: Arrays = {"kspace": kspace, "coils": coils, "pattern": pattern[None]}
    if item.trajectory is not None:
        arrays["trajectory"] = item.trajectory.astype(np.complex64)
    images = None if item.reference is None else item.reference.reshape(-1, *item.image_shape[1:])
    if images is not None and len(images) == len(coils):
        arrays["reference"] = images[:, None]
    elif item.fully_sampled:
        arrays["reference"] = np.sum(coils.conj() * centred_ifft(item.kspace), axis=1, keepdims=True)
    elif images is not None:
        raise InputError(f"the reference must have {counted(len(coils), 'map')}, that of the source has {len(images)}")
    for name, values in arrays.items():
        _check(values, f"'{name}'")
    if not (np.any(kspace, axis=(1, 2)) & np.any(coils, axis=(0, 2, 3))).any():
        raise InputError("the coils with a signal must have sensitivities")
    reference = arrays.get("reference")
    if reference is not None and np.all(reference == reference[..., :1, :1]):
        raise InputError("the reference must show something, it is the same everywhere")
    return arrays


def _measured(item: Slice) -> NDArray[np.bool_]:
    return np.ones(item.kspace.shape[1:], bool) if item.pattern is None else np.asarray(item.pattern != 0)


def _layout(name: str, values: Complex, is_noncartesian: bool) -> tuple[ToBart, bool]:
    """Return how an array of one slice becomes a BART array, and whether slices that are equal are stored once."""
    if is_noncartesian and name == "trajectory":
        return dims.from_batch_positions, True
    if is_noncartesian and name in {"kspace", "pattern"}:
        return dims.from_batch_coil_samples, name == "pattern"
    return dims.from_batch_coil_yx if values.ndim == 3 else dims.from_batch_map_coil_yx, False


def _check(values: Complex, name: str, advice: str = "") -> None:
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite, found NaN or infinity")
    if not values.any():
        raise InputError(f"{name} must not be zero everywhere{advice}")


def _difference(entry: Entry, shapes: Mapping[str, Shape], expected: Mapping[str, Shape]) -> str:
    for name, shape in expected.items():
        if name in shapes and shapes[name] != shape:
            return f"'{name}' of {entry.name} has shape {shapes[name]} after {shape}"
    has, others_have = ("no", "one") if "reference" in expected else ("a", "none")
    return (
        f"{entry.name} has {has} reference, others have {others_have}: fully sampled slices need a dataset of their own"
    )
