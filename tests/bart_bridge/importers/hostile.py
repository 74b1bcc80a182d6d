"""Import damaged files of one format in a process of its own: `python -m ... FORMAT FIRST COUNT FOLDER`.

One line of JSON for each case. Whatever happens to the process then belongs to the case that has no line.
"""

import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import BartTfError
from bart_bridge.inspection import inspect
from tests import foreign, foreign_fastmri, foreign_raw, foreign_twix, foreign_volumes
from tests.damage import damage

# A format, how to write a file of it, and how it is imported. More formats need a line here, and nothing else.
FORMATS = {
    "varnet-mat": ("varnet-mat", lambda truth, folder: foreign.write_varnet(truth, folder / "knee", subjects=[1])),
    "varnet-mat-7.3": (
        "varnet-mat",
        lambda truth, folder: foreign.write_varnet(truth, folder / "knee", version="7.3", subjects=[1]),
    ),
    "varnet-mat-cfl": ("varnet-mat", lambda truth, folder: foreign.write_zenodo(truth, folder / "knee", subjects=[1])),
    "modl-hdf5": ("modl-hdf5", lambda truth, folder: foreign.write_modl(truth, folder / "dataset.hdf5")),
    "fastmri": ("fastmri", lambda truth, folder: foreign.write_fastmri(truth, folder / "file.h5", True)),
    "fastmri-prostate": ("fastmri", lambda truth, folder: foreign_fastmri.write_prostate(truth, folder / "file.h5")),
    "fastmri-breast": (
        "fastmri-breast",
        lambda truth, folder: foreign_fastmri.write_breast(truth, folder / "file.h5", spokes=16),
    ),
    "fastmri-exported": ("fastmri", lambda truth, folder: foreign_fastmri.write_exported(truth, folder, "fastmri")),
    "ismrmrd-exported": ("ismrmrd", lambda truth, folder: foreign_fastmri.write_exported(truth, folder, "ismrmrd")),
    "ismrmrd-radial-exported": ("ismrmrd", lambda truth, folder: write_exported_radial(truth, folder)),
    "m4raw": ("m4raw", lambda truth, folder: foreign_fastmri.write_m4raw(truth, folder / "m4raw", ["T2"])),
    "skm-tea": ("skm-tea", lambda truth, folder: foreign_fastmri.write_skm_tea(truth, folder / "MTR_001.h5")),
    "ismrmrd": ("ismrmrd", lambda truth, folder: foreign.write_ismrmrd(truth, folder / "raw.h5", range(0, 36, 3))),
    "ismrmrd-volume": (
        "ismrmrd",
        lambda truth, folder: foreign_raw.write_volume(truth, folder / "raw.h5", range(14, 22)),
    ),
    "ismrmrd-radial": (
        "ismrmrd",
        lambda truth, folder: foreign_raw.write_radial(truth, folder / "raw.h5", foreign_raw.radial(9)),
    ),
    "twix": ("twix", lambda truth, folder: foreign_twix.write_slices(truth, folder / "meas.dat")),
    "calgary-campinas": (
        "calgary-campinas",
        lambda truth, folder: foreign_volumes.write_calgary(truth, folder / "volume.h5"),
    ),
    "cmrxrecon": ("cmrxrecon", lambda truth, folder: foreign_volumes.write_cmrxrecon(truth, folder / "cine.mat")),
    "cfl": ("cfl", lambda truth, folder: foreign.write_bart(truth, folder / "kspace")),
    "cfl-volume": ("cfl", lambda truth, folder: foreign_volumes.write_bart_volume(truth, folder / "kspace")),
}


def write_exported_radial(truth, folder):
    with tempfile.TemporaryDirectory() as name:
        source = foreign_raw.write_radial(truth, Path(name) / "raw.h5", foreign_raw.radial(9))
        return foreign_fastmri.write_exported(truth, folder, "ismrmrd", source)


OPTIONS = {"m4raw": {"repetition": "average"}, "skm-tea": {"contrast": "1"}}
WITH_COILS = {"varnet-mat", "modl-hdf5", "skm-tea"}
# A small file cannot make an import use more, whatever sizes it declares.
MEMORY_BYTES = 3 * 2**30


def main(name, first, count, folder):
    kind, write = FORMATS[name]
    truth = foreign.make_truth()
    (folder / "good").mkdir(parents=True)
    path = write(truth, folder / "good")
    square = foreign.Truth(truth.images, truth.coils[:, 2:-2])
    known = foreign.write_coils(square if kind == "fastmri-breast" else truth, folder / "coils")
    coils = "" if kind in WITH_COILS else str(known)
    options = {"split": {"test": "tst0-2"} if kind == "modl-hdf5" else None, "coils": coils, **OPTIONS.get(kind, {})}
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")
    good = outcome(kind, path, folder / "out", options)
    assert good == {"imported": True}, good
    for seed in range(first, first + count):
        shutil.rmtree(folder / "source", ignore_errors=True)
        shutil.copytree(folder / "good", folder / "source")
        what = damage(folder / "source", seed)
        tell(seed=seed, started=what)
        start = time.monotonic()
        result = outcome(kind, folder / "source" / path.name, folder / "out", options)
        tell(seed=seed, took_s=time.monotonic() - start, **result)


def tell(**facts):
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def outcome(kind, path, out, options):
    """Import and say what came of it: `imported`, `refused` with the message, or `fault`."""
    before = content(path.parent)
    fault = inspected(path)
    if fault:
        return {"fault": fault}
    out.mkdir()
    try:
        foreign.import_to(out / "data", kind, path, **options)
        split = Dataset.open(out / "data").split("test")
        split.validate()
        finite = all(np.isfinite(values).all() for values in split.arrays().values())
        result = {"imported": True} if finite else {"fault": "imported values that are not finite"}
    except BartTfError as error:
        left = [file.name for file in out.iterdir()]
        result = {"fault": f"left behind: {left}"} if left else {"refused": str(error)}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
        result = {"fault": f"{type(error).__name__}: {str(error)[:300]}"}
    shutil.rmtree(out)
    return {"fault": "the source has changed"} if content(path.parent) != before else result


def inspected(path):
    """Inspect, and describe what is wrong with that; empty if it is a table or one line."""
    try:
        texts = [text for row in inspect(path).table() for text in row]
    except BartTfError as error:
        texts = [str(error)]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what the test looks for
        return f"inspect: {type(error).__name__}: {str(error)[:300]}"
    wrong = [text for text in texts if not (text.isprintable() and len(text) < 1000)]
    return f"inspect: {wrong[0][:300]!r}" if wrong else ""


def content(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(str(file), hash(file.read_bytes())) for file in files]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
