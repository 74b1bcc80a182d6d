"""Damaged and hostile files: one change after another to a good file, each made from a seed alone."""

import re

import h5py
import numpy as np

HOSTILE_NAMES = ["", "a\nb", "\x1b[31mred", "n" * 3000, "../../etc/passwd", "kspace ", "🧠", "real", "data"]
HOSTILE_NUMBERS = ["0", "-1", "1", "3", "7", "100000", "99999999999999999999", "1e308", "nan", "-0.5", "x", "", " 4 "]
HOSTILE_VALUES = [np.nan, np.inf, -np.inf, 3.4e38, -1.0, 1e-45, 0.0]
# Sizes that no memory holds; nothing is stored for them.
HUGE = [2**20, 2**31, 2**40]


def damage(folder, seed):
    """Change the files below a folder, one to three times, and return what was done."""
    generator = np.random.default_rng([seed, 23])
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    done = []
    with_other_bytes = set()
    for _ in range(generator.choice([1, 1, 1, 2, 3])):
        file = files[generator.integers(len(files))]
        if not file.exists() or not file.stat().st_size:
            continue
        # The library itself may never return from a file whose bytes have changed, so only bytes are changed then.
        if file not in with_other_bytes and h5py.is_hdf5(file) and generator.random() < 0.6:
            change = pick(generator, HDF5_CHANGES)
        elif file.suffix == ".hdr" and generator.random() < 0.8:
            change = change_text_file
        else:
            change = pick(generator, BYTE_CHANGES)
            with_other_bytes.add(file)
        try:
            done.append(f"{change.__name__} {file.name}: {change(file, generator)}")
        except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError) as error:
            # The library cannot change what the changes before have left of the file.
            done.append(f"{change.__name__} {file.name}: {type(error).__name__}")
    return "; ".join(done)


def pick(generator, things):
    return things[generator.integers(len(things))]


# Bytes


def position(size, generator):
    """Any place in a file, more often near its start, where formats describe themselves."""
    return int(size ** generator.random()) % size


def flip(file, generator):
    content = bytearray(file.read_bytes())
    places = [position(len(content), generator) for _ in range(generator.choice([1, 1, 4, 32]))]
    for place in places:
        content[place] = generator.integers(256)
    file.write_bytes(content)
    return places[:4]


def truncate(file, generator):
    size = position(file.stat().st_size, generator)
    file.write_bytes(file.read_bytes()[:size])
    return size


def overwrite(file, generator):
    content = bytearray(file.read_bytes())
    place = position(len(content), generator)
    size = min(len(content) - place, int(generator.integers(1, 600)))
    fill = pick(generator, [bytes(size), b"\xff" * size, generator.bytes(size)])
    content[place : place + size] = fill
    file.write_bytes(content)
    return place, size


def insert(file, generator):
    content = file.read_bytes()
    place = position(len(content), generator)
    file.write_bytes(content[:place] + generator.bytes(int(generator.integers(1, 40))) + content[place:])
    return place


def remove_part(file, generator):
    content = file.read_bytes()
    place = position(len(content), generator)
    file.write_bytes(content[:place] + content[place + int(generator.integers(1, 200)) :])
    return place


def remove_file(file, generator):
    file.unlink()


def change_text_file(file, generator):
    file.write_text(changed_text(file.read_text(errors="replace"), generator))
    return file.read_text()[:80]


def changed_text(text, generator):
    """Change a number, remove or double a line or an element, or add something."""
    numbers = list(re.finditer(r"-?\d+(\.\d+)?", text))
    kind = generator.integers(5)
    if kind < 2 and numbers:
        match = pick(generator, numbers)
        return text[: match.start()] + pick(generator, HOSTILE_NUMBERS) + text[match.end() :]
    pieces = re.split(r"(?=<)|(?<=\n)", text)
    place = int(generator.integers(len(pieces)))
    if kind == 2:
        return "".join(pieces[:place] + pieces[place + 1 :])
    if kind == 3:
        return "".join(pieces[:place] + [pieces[place]] * 2 + pieces[place + 1 :])
    return "".join([*pieces[:place], pick(generator, HOSTILE_NAMES), *pieces[place:]])


BYTE_CHANGES = [flip, flip, flip, truncate, overwrite, overwrite, insert, remove_part, remove_file]


# HDF5


def some_item(opened, generator):
    """Return a group and the name of an item in it, or nothing."""
    names = []
    opened.visit(names.append)
    if not names:
        return None
    name = pick(generator, sorted(names))
    parent, _, leaf = name.rpartition("/")
    return opened[parent] if parent else opened, leaf


def on_item(change):
    """Turn a change of an item in a group into a change of a file."""

    def changed(file, generator):
        with h5py.File(file, "r+") as opened:
            place = some_item(opened, generator)
            if place is None:
                return "nothing in it"
            return f"{place[1]}: {change(*place, generator)}"

    changed.__name__ = change.__name__
    return changed


def on_array(change):
    """Turn a function of an array that returns its replacement into a change of a file."""

    @on_item
    def changed(group, name, generator):
        if not isinstance(group[name], h5py.Dataset):
            return "a group"
        values = change(group[name][()], generator)
        del group[name]
        group[name] = values
        return getattr(values, "shape", ()), getattr(values, "dtype", type(values))

    changed.__name__ = change.__name__
    return changed


@on_item
def delete(group, name, generator):
    del group[name]


@on_item
def rename(group, name, generator):
    new = pick(generator, [other for other in HOSTILE_NAMES if other and other not in group])
    group.move(name, new)
    return new[:20]


@on_item
def link(group, name, generator):
    target = pick(
        generator,
        [h5py.SoftLink("/nowhere"), h5py.SoftLink(group.name), h5py.ExternalLink("not there", "/"), group.file["/"]],
    )
    del group[name]
    group[name] = target
    return target


@on_item
def huge(group, name, generator):
    """Declare sizes beyond any memory, with a type of before, and store nothing."""
    item = group[name]
    if not isinstance(item, h5py.Dataset) or not item.shape or item.dtype.hasobject:
        return "no array"
    shape = list(item.shape)
    for axis in generator.choice(len(shape), size=min(len(shape), int(generator.integers(1, 3))), replace=False):
        shape[axis] = pick(generator, HUGE)
    if np.prod([float(size) for size in shape]) * item.dtype.itemsize > 2**62:
        shape[0] = 1
    dtype = item.dtype
    del group[name]
    group.create_dataset(name, shape, dtype, chunks=tuple(min(size, 8) for size in shape))
    return shape


@on_item
def elsewhere(group, name, generator):
    """Let the values lie in a file that is not there."""
    item = group[name]
    if not isinstance(item, h5py.Dataset) or not item.shape or item.dtype.hasobject:
        return "no array"
    shape, dtype = item.shape, item.dtype
    del group[name]
    if generator.random() < 0.5:
        group.create_dataset(name, shape, dtype, external=[("not there", 0, int(np.prod(shape)) * dtype.itemsize)])
        return "external"
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("not there.h5", "kspace", shape)
    group.create_virtual_dataset(name, layout)
    return "virtual"


@on_array
def retype(values, generator):
    kinds = ["f8", "f2", "i4", "u1", "c16", "?", "S7", "O", "record", "group of values"]
    kind = pick(generator, kinds)
    if kind == "O":
        return "text in place of it"
    if kind == "record":
        return np.zeros(np.shape(values), [("real", "f4"), ("imaginary", "f4"), ("more", "i8", 3)])
    numeric = isinstance(values, np.ndarray) and values.dtype.kind in "biufc"
    if kind == "group of values" or not numeric:
        return np.float64(3)
    with np.errstate(all="ignore"):
        plain = values.real if kind != "c16" else values
        return plain.astype(kind if kind != "?" else bool)


@on_array
def reshape(values, generator):
    values = np.asarray(values)
    if not values.ndim:
        return np.full((2, 2), values)
    axis = int(generator.integers(values.ndim))
    kind = generator.integers(6)
    if kind == 0:
        return np.moveaxis(values, axis, 0)
    if kind == 1:
        return values.take(0, axis=axis)
    if kind == 2:
        return np.expand_dims(values, axis)
    size = pick(generator, [0, 1, values.shape[axis] // 2, values.shape[axis] - 1])
    if kind == 3:
        return values.reshape(-1)
    return values.take(np.arange(max(0, size)), axis=axis)


@on_array
def change_values(values, generator):
    values = np.array(values)
    if values.dtype.kind not in "fc" or not values.size:
        return changed_content(values, generator)
    places = generator.integers(values.size, size=generator.choice([1, values.size]))
    with np.errstate(all="ignore"):
        values.flat[places] = pick(generator, HOSTILE_VALUES)
    return values


def changed_content(values, generator):
    """Change a text, or some fields of some records, such as flags, counters and sizes of lines."""
    if values.dtype.kind in "OS" and not values.ndim:
        text = values.item()
        return changed_text(text.decode(errors="replace") if isinstance(text, bytes) else str(text), generator)
    if values.dtype.names and values.size:
        rows = ... if generator.random() < 0.3 or not values.ndim else generator.integers(len(values))
        target = values[values.dtype.names[0]]
        while target.dtype.names:
            target = target[pick(generator, target.dtype.names)]
        if target.dtype.kind in "iuf" and target.size:
            with np.errstate(all="ignore"):
                target[rows] = np.array(pick(generator, [0, 1, 2, 3, 17, 255, 65535, np.nan])).astype(target.dtype)
    return values


@on_item
def attribute(group, name, generator):
    item = group[name]
    if not len(item.attrs):
        item.attrs["acceleration"] = "many"
        return "new"
    key = pick(generator, sorted(item.attrs))
    item.attrs[key] = pick(generator, [0, -1, "x", np.nan, np.arange(3)])
    return key


HDF5_CHANGES = [delete, rename, link, huge, huge, retype, retype, reshape, reshape, change_values, change_values]
HDF5_CHANGES += [change_values, attribute, elsewhere]
