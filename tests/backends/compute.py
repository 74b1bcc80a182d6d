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

from bart_bridge import weights
from bart_bridge.dataset import Dataset
from bart_bridge.settings import ModlSettings, Training, VarNetSettings
from tf_models.inputs import network_inputs, reference_images, to_complex, to_real
from tf_models.training import build, train

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
    trained, (history,) = train(network, TRAINING, *training, initial)
    results |= {f"history/{column}": values for column, values in history.items()}
    results |= {f"weights/{array}": values for array, values in trained.named_weights().items()}
    # The moments show the size of the gradients; of that, Adam's first steps show nothing.
    for variable in trained.optimizer.variables:
        if len(variable.shape):  # neither the number of the step nor the learning rate
            results[f"moments/{variable.path.split('/')[-1]}"] = ops.convert_to_numpy(variable)
    leanly, (history,) = train(network, TRAINING, *training, initial, memory="lean")
    results["lean loss"] = history["loss"]
    results |= {f"lean weights/{array}": values for array, values in leanly.named_weights().items()}
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
    training = network_inputs(split), to_real(reference_images(split))
    results = {}
    for name in NETWORKS:
        results |= {f"{name}/{key}": values for key, values in results_of(name, folder, test, training).items()}
    np.savez(folder / f"{keras.backend.backend()}.npz", **results)


if __name__ == "__main__":
    main()
