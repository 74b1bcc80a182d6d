"""`bart-tf view`: arrays by their paths, and the page that shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2

import bart_bridge
from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl, multi_cfl
from bart_bridge.files.dims import Dim
from bart_bridge.reconet import weights, weights_info
from compare.report.viewer_arrays import Positions, ViewedArray, choose_positions, default_plane, left_out, pack

MOST_ARRAYS = 24  # colours and dashes of lines differ for as many
_MARK = '<meta name="generator" content="bart-tf view">'
# Split of a dataset folder that is shown.
_SPLIT = "test"
# The plane of a convolution's kernels among the dimensions of its weights; the first two are channels.
_KERNEL = (Dim.Z, Dim.COIL)


@dataclass(frozen=True)
class Written:
    """The page that was written.

    Attributes:
        page: Its path.
        left_out: What is not on it, a sentence each.
    """

    page: Path
    left_out: list[str]


def write(paths: Sequence[Path], page: Path, plane: tuple[Dim, Dim] | None, wanted: Positions) -> Written:
    """Write a page that shows arrays and needs no other file.

    Args:
        paths: Arrays, with or without `.cfl` or `.hdr`; or folders, which stand for the arrays in them, a dataset
            folder for those of its split `test`.
        page: The file. One that exists is replaced if `write` made it.
        plane: The two dimensions of the images; by default those of `default_plane`, for each array.
        wanted: Positions along the other dimensions; see `choose_positions`.

    Raises:
        InputError: A path is no array and no folder with arrays, an array is damaged, there are more than 24, or as for
            `choose_positions`; or `page` is another file.
    """
    if page.exists() and not (page.is_file() and _MARK in page.read_text(errors="replace")[:2000]):
        raise InputError(f"{page}: exists and is no page of bart-tf view; name another file with --output")
    names = [name for path in paths for name in arrays_at(path)]
    arrays: list[ViewedArray] = []
    for name, label in zip(names, _labels(names), strict=True):
        arrays += _arrays(name, label, plane)
    if len(arrays) > MOST_ARRAYS:
        raise InputError(f"at most {MOST_ARRAYS} arrays fit on a page, received {len(arrays)}")
    positions = choose_positions(arrays, wanted)
    missing = left_out(arrays, positions)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    style, script = (
        "\n".join(loader.get_source(environment, name)[0] for name in files)
        for files in (("page.css", "view.css"), ("images.js", "view.js"))
    )
    text = environment.get_template("view.html.j2").render(
        title=", ".join(array.label for array in arrays),
        mark=_MARK,
        arrays=arrays,
        content=pack(arrays, positions),
        left_out=missing,
        version=bart_bridge.__version__,
        style=style,
        script=script,
    )
    atomic.write_text(page, text)
    return Written(page, missing)


def _arrays(name: Path, label: str, plane: tuple[Dim, Dim] | None) -> list[ViewedArray]:
    """Return the array of a file, or all arrays of one that holds several, with their names if they are weights."""
    if not multi_cfl.is_multi(name):
        values = cfl.read(name)
        return [ViewedArray(label, values, plane or default_plane(values.shape))]
    stored = multi_cfl.read(name)
    labels = [f"array {number}" for number in range(1, len(stored) + 1)]
    with suppress(InputError):  # of something else than weights
        names = weights.stored_names(weights_info.infer(name))
        labels = names if len(names) == len(stored) else labels
    planes = [
        _KERNEL if part.startswith("conv") else default_plane(values.shape)
        for part, values in zip(labels, stored, strict=True)
    ]
    return [
        ViewedArray(f"{label}, {part}", values, plane or usual)
        for part, values, usual in zip(labels, stored, planes, strict=True)
    ]


def arrays_at(path: Path) -> list[Path]:
    """Return the names of the arrays that a path stands for.

    Raises:
        InputError: There are none.
    """
    if path.is_file() and path.suffix not in {".cfl", ".hdr"} and not cfl.exists(path):
        raise InputError(f"{path}: no BART array (.cfl and .hdr); 'bart-tf inspect' says what a file is")
    if not path.is_dir() or cfl.exists(path):
        cfl.read_dims(path)
        return [cfl.stem(path)]
    folder = path / _SPLIT if (path / "dataset.yaml").is_file() else path
    names = [cfl.stem(file) for file in sorted(folder.glob("*.hdr")) if cfl.exists(file)]
    if not names:
        raise InputError(f"{folder}: no arrays (.cfl and .hdr) in this folder")
    return names


def _labels(names: Sequence[Path]) -> list[str]:
    """Name arrays by the ends of their paths, as short as they differ."""
    labels = [name.name for name in names]
    for parts in range(2, max(len(name.parts) for name in names) + 1):
        counts = Counter(labels)
        labels = [
            label if counts[label] == 1 else "/".join(name.parts[-parts:])
            for name, label in zip(names, labels, strict=True)
        ]
    counts = Counter(labels)
    return [
        f"{label} ({labels[: number + 1].count(label)})" if counts[label] > 1 else label
        for number, label in enumerate(labels)
    ]
