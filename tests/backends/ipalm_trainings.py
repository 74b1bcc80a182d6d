"""What one backend computes with iPALM; test_ipalm.py runs this in a child process.

    KERAS_BACKEND=jax python -m tests.backends.ipalm_trainings FOLDER

The results of all cases go to `FOLDER/<backend>.npz`, each array as `<case>/<what it is>`.
"""

import doctest
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.helper import random_images
from tf_models.networks.build import build
from tf_models.optimizers import ipalm
from tf_models.optimizers.ipalm import IPALM
from tf_models.training.batches import TrainingData
from tf_models.training.checkpoint import Checkpoints, StoppedError
from tf_models.training.fit import Execution, train
from tf_models.training.history import Hooks

NETWORKS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=3, kernel_y=3, basis=5),
    "modl": ModlSettings(iterations=1, layers=3, filters=2, max_cg_iterations=3),
}
# The first step is so long that tries are rejected. At a constant rate, 20 updates make 1e-5 of a rounding error.
TRAINING = Training(algorithm="ipalm", learning_rate=1e4, batch_size=2, epochs=5)
# Updates of one batch at a falling rate: network, plan, preset, proximal maps.
STEPS = {
    "varnet bart": ("varnet", "plain", "bart", None),
    "varnet vn": ("varnet", "lean", "vn", {"conv": ["zero_mean_unit_ball"]}),
    "modl paper": ("modl", "lean", "paper", {"conv_0": ["l1", 1e-3]}),
    "modl bart": ("modl", "plain", "bart", None),
}
# In the fourth update of MoDL, the rules of the paper meet the bound up to rounding.
UPDATES = {"varnet": 20, "modl": 3}


def data():
    """Inputs and reference of four slices, of random numbers."""
    inputs = {"adjoint": random_images((4, 12, 12, 2)), "coils": random_images((4, 2, 12, 12, 2), 1) * 0.5}
    inputs["psf"] = (np.random.default_rng(2).random((4, 12, 12)) < 0.5).astype(np.float32)
    return inputs, random_images((4, 12, 12, 2), 3)


def state_of(model):
    return {
        variable.path.split("/", 1)[-1]: ops.convert_to_numpy(variable)
        for variable in (*model.variables, *model.optimizer.variables)
    }


def trained(**options):
    """Return what our own training leaves of VarNet."""
    network, done = NETWORKS["varnet"], []
    checkpoints = options.get("checkpoints")

    def on_batch(progress):
        done.append(progress)
        if checkpoints and checkpoints.state is None and len(done) == 7:
            checkpoints.stop_requested = True

    start = weights.random(network, 0)
    model, (history,) = train(network, TRAINING, TrainingData(data()), start, Execution(**options), Hooks(on_batch))
    history.pop("seconds")
    columns = {f"history/{name}": column.ravel() for name, column in history.items()}
    return columns | {f"state/{name}": values for name, values in state_of(model).items()}, len(done)


def resumed(folder):
    """Return what is left of a training that stopped in the middle of an epoch and went on, and its updates since."""
    try:
        trained(checkpoints=Checkpoints(folder, "same"))
    except StoppedError:
        return trained(checkpoints=Checkpoints(folder, "same"))
    raise AssertionError("the training did not stop")


def stepped(case):
    """Return what updates of one batch leave, under a schedule."""
    name, memory, preset, proximal = STEPS[case]
    model = build(NETWORKS[name], weights.random(NETWORKS[name], 0), memory=memory)
    schedule = keras.optimizers.schedules.ExponentialDecay(1e4 if name == "varnet" else 1.0, 2, 0.5)
    # TensorFlow's graph of MoDL takes longer to make than to run here.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(optimizer=IPALM(schedule, preset, proximal=proximal), run_eagerly=eager)
    inputs, reference = data()
    batch = {key: value[:2] for key, value in inputs.items()}, reference[:2]
    logs = [model.train_on_batch(*batch, return_dict=True) for _ in range(UPDATES[name])]
    columns = {f"history/{name}": np.array([row[name] for row in logs]) for name in (*ipalm.COUNTS, "batch_loss")}
    # What is recorded is the loss of the weights that the update leaves.
    loss = model.compute_loss(*batch, model(batch[0], training=True))
    columns["loss of the weights"] = ops.convert_to_numpy(loss)
    return columns | {f"state/{key}": values for key, values in state_of(model).items()}


def main():
    folder = Path(sys.argv[1])
    cases = {"train": trained()[0], **{case: stepped(case) for case in STEPS}}
    if keras.backend.backend() != "tensorflow":
        cases["resumed"], updates = resumed(folder / keras.backend.backend())
        cases["resumed"]["updates"] = np.array(updates)
        failed, attempted = doctest.testmod(ipalm)
        cases["doctest"] = {"failed": np.array(failed), "attempted": np.array(attempted)}
    arrays = {f"{case}/{key}": values for case, results in cases.items() for key, values in results.items()}
    np.savez(folder / f"{keras.backend.backend()}.npz", **arrays)


if __name__ == "__main__":
    main()
