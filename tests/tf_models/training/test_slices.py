"""Slices along dimensions 13, 14 and 15 and mixtures of them, with `--normalize`, in both programs."""

import shlex
import subprocess

import numpy as np
import pytest

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.command_line import parse
from bart_bridge.reconet.history import read_history
from tests.helper import relative_difference, slow_but, write_slices
from tf_models.programs import reconet

# Without batch norm, which amplifies rounding, see docs/bart-notes.md, item 13.
NETWORKS = {
    "varnet": "--network varnet -I2 --varnet-block F=3,X=3,Y=3,W=7",
    "modl": "--network modl -I2 --resnet-block L=3,F=4,no-batch-normalization",
}
ARRANGEMENTS = {
    "13": (8, 1, 1),
    "14": (1, 8, 1),
    "15": (1, 1, 8),
    "13 and 14": (2, 4, 1),
    "13 and 15": (4, 1, 2),
    "14 and 15": (1, 2, 4),
    "all": (2, 2, 2),
}
CASES = {f"{network} {arrangement}": (network, arrangement) for network in NETWORKS for arrangement in ARRANGEMENTS}
QUICK = ("varnet 13", "modl 13 and 15")
TRAIN = "-t -n -b 3 -l start -T e=3,export-history=h"


@pytest.fixture(scope="module")
def eight_slices(dataset_folder, tmp_path_factory):
    """Files of eight slices whose scale grows from the first to the last, for each arrangement."""
    folder, split = tmp_path_factory.mktemp("slices"), Split.in_folder(dataset_folder / "train")
    (folder / "source").mkdir()
    for name, path in split.paths().items():
        array = np.concatenate([cfl.read(path), cfl.read(path)], axis=-1)
        cfl.write(folder / "source" / name, array * np.arange(1, 9) if name in ("kspace", "reference") else array)
    for name, sizes in ARRANGEMENTS.items():
        write_slices(folder / name, Split.in_folder(folder / "source"), sizes)
    return folder


@pytest.fixture
def both(eight_slices, toolbox, tmp_path, monkeypatch):
    """Run a command line in both programs, each in its own folder."""

    def run(case, options, *files):
        network_name, arrangement = CASES[case]
        data = eight_slices / arrangement
        words = [*shlex.split(f"{NETWORKS[network_name]} {options}"), "--pattern", str(data / "pattern")]
        arguments = [*words, *(str(data / file) if (data / f"{file}.hdr").exists() else file for file in files)]
        network = parse(arguments).network
        for folder in (tmp_path / "bart", tmp_path / "keras"):
            folder.mkdir()
            weights.write(folder / "start", network, weights.random(network, 0))
        argv = [toolbox.path, "reconet", *arguments]
        subprocess.run(argv, cwd=tmp_path / "bart", capture_output=True, check=True, timeout=300)
        monkeypatch.chdir(tmp_path / "keras")
        reconet.run(parse(arguments), lambda progress: None)
        return tmp_path / "keras", tmp_path / "bart"

    return run


@pytest.mark.parametrize("case", slow_but(CASES, *QUICK))
def test_images_are_those_of_bart(case, both):
    ours, theirs = (cfl.read(folder / "images") for folder in both(case, "-a -n", "kspace", "coils", "start", "images"))
    assert ours.shape == theirs.shape
    for number in np.ndindex(ours.shape[-3:]):
        assert relative_difference(ours[..., *number], theirs[..., *number]) < 1e-5


@pytest.mark.parametrize("case", slow_but(CASES, *QUICK))
def test_losses_are_those_of_bart(case, both, eight_slices):
    data = eight_slices / CASES[case][1]
    valid = ",".join(f"{key}={data / file}" for key, file in {"k": "kspace", "c": "coils", "r": "reference"}.items())
    options = f"{TRAIN} --valid-data '{valid},p={data / 'pattern'}'"
    network = parse(shlex.split(f"-t {NETWORKS[CASES[case][0]]} k c w r")).network
    ours, theirs = (
        read_history(folder / "h", network, validated=True)
        for folder in both(case, options, "kspace", "coils", "w", "reference")
    )
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"seconds"}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5)


@pytest.mark.parametrize("file", ["coils", "reference"])
def test_files_whose_slices_lie_otherwise_are_refused(file, eight_slices):
    paths = {name: eight_slices / "13" / name for name in ("kspace", "coils", "reference")}
    paths[file] = eight_slices / "13 and 15" / file
    arguments = [*shlex.split(f"--train {NETWORKS['varnet']}"), str(paths["kspace"]), str(paths["coils"]), "w"]
    with pytest.raises(InputError, match=f"{file}: dimensions 13, 14 and 15 must .* 8 x 1 x 1, found 4 x 1 x 2"):
        reconet.run(parse([*arguments, str(paths["reference"])]), lambda progress: None)
