"""Regularizers in half precision: close to single precision, with images, gradients and weights in single precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.data.dataset import Dataset
from bart_bridge.measures import measures
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.helper import relative_difference, slow_but, to_complex
from tf_models.networks.build import build
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

NETWORKS = {
    "varnet": VarNetSettings(iterations=3, filters=4, kernel_x=5, kernel_y=5, basis=15),
    "modl": ModlSettings(iterations=2, layers=3, filters=4),
}
# Spacing of the numbers around 1.
SPACING = {"mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}


@pytest.fixture(scope="module")
def data(dataset_folder):
    split = Dataset.open(dataset_folder).split("train")
    return network_inputs(split), network_reference(split)


def image_and_gradients(network, precision, memory, data):
    model = build(network, weights.random(network, 0), memory=memory, precision=precision)
    x, y = data

    with tf.GradientTape() as tape:
        image = model(x, training=True)
        loss = 1024 * model.compute_loss(x, y, image)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert image.dtype == tf.float32
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    return image, np.concatenate([np.ravel(gradient) for gradient in gradients])


@pytest.mark.parametrize("memory", ["plain", "lean"])
@pytest.mark.parametrize("name", NETWORKS)
def test_images_and_gradients_are_close_to_those_of_single_precision(name, memory, data):
    image, gradients = image_and_gradients(NETWORKS[name], "float32", memory, data)
    for precision, spacing in SPACING.items():
        rounded_image, rounded_gradients = image_and_gradients(NETWORKS[name], precision, memory, data)
        # Something was rounded, and not much.
        allowed = {"varnet": spacing / 10, "modl": 8 * spacing}[name]
        assert spacing / 1000 < relative_difference(rounded_image, image) < allowed
        assert relative_difference(rounded_gradients, gradients) < 16 * spacing


@pytest.mark.parametrize("name", slow_but(NETWORKS, "varnet"))
def test_training_costs_little_accuracy(name, data):
    training = Training(learning_rate=0.01, batch_size=2, epochs=8)
    initial, psnr = weights.initial(NETWORKS[name], 0), {}
    for precision in ("float32", *SPACING):
        chosen = training.model_copy(update={"precision": precision})
        model, (history,) = train(NETWORKS[name], chosen, TrainingData(data), initial)
        assert history["loss"][-1].mean() < history["loss"][0].mean()
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
        images = to_complex(model.predict(data[0], verbose=0))
        psnr[precision] = np.mean([measures(*pair)["psnr"] for pair in zip(images, to_complex(data[1]), strict=True)])
    assert psnr == pytest.approx(dict.fromkeys(psnr, psnr["float32"]), abs=0.5)


def test_a_saved_model_keeps_its_precision(tmp_path):
    model = build(NETWORKS["varnet"], weights.random(NETWORKS["varnet"], 0), precision="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.precision, loaded.regularizer.precision) == ("mixed_bfloat16", "bfloat16")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision='float8'"):
        build(NETWORKS["varnet"], weights.random(NETWORKS["varnet"], 0), precision="float8")
