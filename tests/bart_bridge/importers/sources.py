"""What tests of unusual files share: an import that returns all that it says, and changes of an HDF5 file."""

import h5py

from bart_bridge.data.dataset import Dataset
from bart_bridge.importers import open_source
from bart_bridge.importers.convert import ImportPlan, convert
from bart_bridge.importers.pattern_choice import PatternChoice


def import_(folder, kind, path, coils="", split=None, toolbox=None, pattern="source"):
    """Import and return what the command says of it, and the arrays of the split `test`."""
    source = open_source(kind, path)
    choice = PatternChoice(pattern, reference_size=4)
    plan = ImportPlan(source.split(split or {"test": "all"}, None), choice, coils)
    imported = convert(source, folder, plan, lambda: toolbox)
    opened = Dataset.open(folder).split("test")
    opened.validate()
    return imported, opened.arrays()


def edit(path, name, change):
    with h5py.File(path, "r+") as file:
        values = change(file[name][()])
        del file[name]
        file[name] = values
