"""What the tests against the installed BART share: small networks, and BART's images and history."""

import keras
import numpy as np
from keras import ops
from typer.testing import CliRunner

from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_map_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.tools import process
from compare.cli import app
from tests.helper import relative_difference
from tf_models.backend.channels import channels_to_complex
from tf_models.networks.build import build
from tf_models.training.network_inputs import network_inputs

VARNET = {"iterations": 3, "filters": 4, "kernel_x": 5, "kernel_y": 3, "basis": 9}
MODL = {"iterations": 2, "layers": 4, "filters": 5}
# SENSE initialization with a lambda of its own, fixed and trained.
FIXED = {"fixed_lambda": 0.1, "max_cg_iterations": 6}
OWN = {"initial_lambda": 0.3, "max_cg_iterations": 6}


def images_of(network, values, split, dtype="float32"):
    """Reconstruct with Keras: `(batch, map, y, x)`; without a graph, which takes longer to make than to run here."""
    image = build(network, values, dtype=dtype)(network_inputs(split), training=False)
    assert keras.backend.standardize_dtype(image.dtype) == dtype
    return channels_to_complex(ops.convert_to_numpy(image))


def images_of_bart(network, values, split, toolbox, folder):
    """Apply a network by `reconet`: `(batch, map, y, x)`; the files `weights` and `images` stay in the folder."""
    weights.write(folder / "weights", network, values)
    toolbox.run(*commands.apply_argv(toolbox, network, split, folder / "weights", folder / "images")[1:])
    return np.array(to_batch_map_yx(cfl.read(folder / "images")))


def history_of_bart(network, training, split, start, toolbox, folder, validation=None):
    """Train a network by `reconet` and return the history."""
    initial, trained, history = folder / "initial", folder / "trained", folder / "history"
    weights.write(initial, network, start)
    files = commands.TrainingFiles(split, trained, initial, history, validation)
    argv = commands.train_argv(toolbox, network, training, training.epochs, files)
    commands.check_trained(argv, process.run(argv, folder=folder), network, trained, history)
    return read_history(history, network, validated=validation is not None)


def assert_drop_in_writes_the_images_of_bart(network, split, toolbox, folder, tolerance):
    """Apply a network by `reconet` and by `bart-tf reconet` and compare the files."""
    expected = images_of_bart(network, weights.random(network, 0), split, toolbox, folder)
    arguments = commands.apply_argv(toolbox, network, split, folder / "weights", folder / "ours")[1:]
    result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert cfl.read_dims(folder / "ours") == cfl.read_dims(folder / "images")
    assert relative_difference(to_batch_map_yx(cfl.read(folder / "ours")), expected) < tolerance
