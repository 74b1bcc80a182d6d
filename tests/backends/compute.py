"""What one backend computes with each of the networks; test_backends.py runs this in a child process.

    KERAS_BACKEND=jax python -m tests.backends.compute FOLDER DATASET

FOLDER has BART weights files with the names of the networks, and the models that TensorFlow saved. The results of all
networks go to `FOLDER/<backend>.npz`, each array as `<network>/<what it is>`.
"""

import gc
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.helper import to_complex
from tf_models.networks.build import build
from tf_models.training.batches import TrainingData
from tf_models.training.fit import Execution, train
from tf_models.training.network_inputs import network_inputs, network_reference

VARNET = {"iterations": 2, "filters": 3, "kernel_x": 5, "kernel_y": 3, "basis": 7}
MODL = {"iterations": 2, "layers": 4, "filters": 4}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet-proximal-mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping"),
    "modl": ModlSettings(**MODL),
    "modl-gradient-step": ModlSettings(**MODL, data_consistency="gradient-step", batch_norm=False),
}
# Two updates in one epoch: the second loss is the one after an Adam step, the second lambda is read between updates.
TRAINING = Training(batch_size=2, epochs=1)
# Steps that stand out of the rounding of the weights.
ADMM = {
    kind: Training(algorithm="admm", **steps, batch_size=2, epochs=3)
    for kind, steps in {
        "varnet": {"learning_rate": 5.0, "admm": {"rho": 0.02, "dual_interval": 3, "balancing": True}},
        "modl": {"learning_rate": 0.005, "admm": {"rho": 0.1, "dual_interval": 3, "balancing": True}},
    }.items()
}


def start_of_admm(network):
    """Return weights to start from: VarNet's filters move only under stronger activations than all others have."""
    start = weights.random(network, 0)
    return start | {"rbf": 10 * start["rbf"]} if network.kind == "varnet" else start


def results_of(name, folder, test, training):
    """Images, what training leaves, and images of the saved model, by name."""
    network = NETWORKS[name]
    initial = weights.read(folder / name, network)
    model = build(network, initial)
    results = {"images": to_complex(model.predict(test, verbose=0))}
    saved = folder / f"{name}.keras"
    if keras.backend.backend() == "tensorflow":
        model.save(saved)
    else:
        results["images of the saved model"] = to_complex(keras.saving.load_model(saved).predict(test, verbose=0))
    trained, (history,) = train(network, TRAINING, TrainingData(training), initial)
    results |= {f"history/{column}": values for column, values in history.items()}
    results |= {f"weights/{array}": values for array, values in trained.named_weights().items()}
    # The moments show the size of the gradients; of that, Adam's first steps show nothing.
    for variable in trained.optimizer.variables:
        if len(variable.shape):  # neither the number of the step nor the learning rate
            results[f"moments/{variable.path.split('/')[-1]}"] = ops.convert_to_numpy(variable)
    leanly, (history,) = train(network, TRAINING, TrainingData(training), initial, Execution("lean"))
    results["lean loss"] = history["loss"]
    results |= {f"lean weights/{array}": values for array, values in leanly.named_weights().items()}
    # Validated after every epoch, for which the weights are ADMM's z for a while.
    start = start_of_admm(network)
    split_by_admm, (history,) = train(network, ADMM[network.kind], TrainingData(training, training), start)
    results |= {f"admm history/{column}": values for column, values in history.items()}
    results |= {f"admm weights/{array}": values for array, values in split_by_admm.named_weights().items()}
    if keras.backend.backend() == "torch":
        results["tensors left"] = tensors_left(model, test)
    return results


def tensors_left(model, inputs):
    """How many of PyTorch's tensors are there after a reconstruction that were not there before."""
    import torch

    def count():
        gc.collect()
        # Not `isinstance`, which makes lazy modules load.
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    before = count()
    model(inputs, training=True)
    return count() - before


def main():
    folder, dataset = Path(sys.argv[1]), Dataset.open(Path(sys.argv[2]))
    test, split = network_inputs(dataset.split("test")), dataset.split("train")
    training = network_inputs(split), network_reference(split)
    results = {}
    for name in NETWORKS:
        results |= {f"{name}/{key}": values for key, values in results_of(name, folder, test, training).items()}
    np.savez(folder / f"{keras.backend.backend()}.npz", **results)


if __name__ == "__main__":
    main()
