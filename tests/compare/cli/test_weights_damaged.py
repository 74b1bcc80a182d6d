"""`bart-tf weights` rejects damaged Keras models, and names the fault in one line."""

import zipfile

import numpy as np
import pytest

from bart_bridge.reconet import weights
from tests.compare.cli.weights_cases import NETWORKS, refused
from tf_models.files import model_files
from tf_models.networks.build import build


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model_files.save(build(NETWORKS["modl"], weights.random(NETWORKS["modl"], 0)), path)
    return path


def rewritten(source, target, member, change):
    """Copy an archive with the bytes of one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == member else old.read(name))


def truncated(source, target):
    target.write_bytes(source.read_bytes()[:-3000])


def flipped(source, target):
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)


def a_folder(source, target):
    target.mkdir()


def text(source, target):
    target.write_text("weights")


def empty(source, target):
    target.touch()


def other_class(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"Modl"', b'"Sequential"'))


def other_sizes(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"filters": 3', b'"filters": 4'))


def wrong_sizes(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"filters": 3', b'"filters": -4'))


def no_arrays(source, target):
    rewritten(source, target, "model.weights.h5", lambda data: data[:1000])


def not_a_number(source, target):
    model = model_files.load(source)
    model.data_consistency.lambdas.assign([np.nan])
    model.save(target)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "not a Keras model, or a damaged one"),
        (flipped, "damaged"),
        (a_folder, "a folder, not a Keras model"),
        (text, "not a Keras model, or a damaged one"),
        (empty, "not a Keras model, or a damaged one"),
        (other_class, "a network of bart-tf is needed (VarNet, Modl, MoDLOriginal), found 'Sequential'"),
        (other_sizes, "weights do not belong to the network"),
        (wrong_sizes, "Modl: filters: must be greater than 0"),
        (no_arrays, "weights do not belong to the network"),
        (not_a_number, "must be finite, found NaN or infinity"),
    ],
)
def test_damaged_models_are_refused(damage, message, model_file, command, tmp_path):
    damage(model_file, tmp_path / "model.keras")
    for arguments in (["info"], ["to-bart"], ["to-savedmodel", "--x", 24, "--y", 24]):
        target = [] if arguments == ["info"] else [tmp_path / "out"]
        line = refused(command(arguments[0], tmp_path / "model.keras", *target, *arguments[1:]))
        assert message in line
        assert str(tmp_path / "model.keras") in line
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
