"""What one slice of raw data says: its size, how much of k-space was sampled, and where its peak is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.importers import open_source
from bart_bridge.importers.source import Source
from bart_bridge.inspection.description import Description, Rows
from bart_bridge.wording import counted


def with_measured(description: Description) -> Description:
    """Add what the importer reads from one slice, or why it does not take the file."""
    if description.parts:
        return replace(description, parts={name: with_measured(part) for name, part in description.parts.items()})
    if not description.kind:
        return description
    # What overflows is reported by the checks of an import.
    with np.errstate(all="ignore"):
        try:
            source = open_source(description.kind, description.path, **description.options)
            rows = _source_rows(source)
        except BartTfError as error:
            reason = str(error).removeprefix(f"{description.path}: ")
            return replace(description, kind="", without_import=f"n/a ({reason})")
    return replace(description, rows=description.rows + rows)


def _source_rows(source: Source) -> Rows:
    units = list(source.units.values())
    entries = [entry for unit in units for entry in unit.values()]
    if not entries:
        raise InputError(f"{source.path}: there are no slices to import")
    entry = entries[len(entries) // 2]
    item = entry.load()
    if not np.isfinite(item.kspace).all():
        raise InputError(f"{source.path}: values must be finite, found NaN or infinity in {entry.name}")
    if not item.kspace.any():
        raise InputError(f"{source.path}: k-space must not be zero everywhere, it is in {entry.name}")
    coils, y, x = item.image_shape
    volumes = "" if len(units) in {1, len(entries)} else f" in {len(units)} units"
    rows = [("slices", f"{len(entries)}{volumes}"), ("coils", str(coils))]
    if item.trajectory is None:
        rows.append(("pixels", f"{x} x {y} (x: {item.axes[1]}, y: {item.axes[0]})"))
        rows += sampling_rows(item.kspace, item.pattern, item.fully_sampled)
    else:
        rows += [("pixels", f"{x} x {y}"), *trajectory_rows(item.kspace, item.trajectory)]
    rows.append(("coil sensitivities", "in the file" if source.has_coils else "estimated by ecalib"))
    rows.append(("reference", "in the file" if item.reference is not None else _reference(item.fully_sampled)))
    notes = (*source.notes, *item.notes)
    counts = {name: count for name, count in {**source.left_out, **item.left_out}.items() if count}
    rows += [("note", note) for note in notes] + [("left out", f"{name}: {count}") for name, count in counts.items()]
    return [*rows, ("read", entry.name)]


def _reference(complete: bool) -> str:
    return "computed from all of k-space" if complete else "n/a (undersampled)"


def sampling_rows(kspace: NDArray[np.complex64], pattern: NDArray[np.generic] | None, complete: bool) -> Rows:
    """Describe the sampling of a slice.

    Args:
        kspace: `(coil, y, x)`.
        pattern: `(y, x)`; None if all was sampled.
        complete: Whether it counts as fully sampled.
    """
    share = 1.0 if pattern is None else np.count_nonzero(pattern) / pattern.size
    text = f"{share:.1%}" + (f" (acceleration {1 / share:.2f})" if 0 < share < 1 else "")
    return [("sampled", text + (", counts as fully sampled" if complete else "")), ("peak of k-space", peak(kspace))]


def trajectory_rows(kspace: NDArray[np.complex64], trajectory: NDArray[np.floating]) -> Rows:
    """Describe samples along a trajectory.

    Args:
        kspace: `(coil, spoke, sample)`.
        trajectory: `(3, spoke, sample)` in units of 1 / field of view.
    """
    _, spokes, samples = trajectory.shape
    distance = np.sqrt(np.sum(np.abs(trajectory) ** 2, axis=0))
    magnitude = np.sqrt(np.sum(np.abs(kspace.astype(np.complex128)) ** 2, axis=0))
    at = np.unravel_index(int(np.argmax(magnitude)), magnitude.shape)
    reach = f"{counted(spokes, 'spoke')} of {counted(samples, 'sample')} up to {distance.max():.4g} / field of view"
    where = f"{distance[at]:.4g} / field of view from the centre, magnitude {magnitude.max():.4g}"
    return [("trajectory", reach), ("peak of k-space", where)]


def peak(kspace: NDArray[np.complex64]) -> str:
    """Say where the largest magnitude of k-space `(coil, y, x)` is, from its centre at `floor(n/2)`."""
    magnitude = np.sqrt(np.sum(np.abs(kspace.astype(np.complex128)) ** 2, axis=0))
    if not magnitude.any():
        return "n/a (all values are 0)"
    position = np.unravel_index(int(np.argmax(magnitude)), magnitude.shape)
    y, x = (int(at) - size // 2 for at, size in zip(position, magnitude.shape, strict=True))
    where = "at the centre" if x == y == 0 else f"at x {x:+d}, y {y:+d} from the centre"
    return f"{where}, magnitude {magnitude.max():.4g}"
