"""What holds for `fit` with every optimizer."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from bart_bridge.reconet import weights
from tests.helper import slow_but
from tests.tf_models.optimizers.tiny_networks import MAKERS, SETTINGS, fit, network
from tf_models.networks.build import build


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("varnet", name) for name in MAKERS),
        pytest.param("modl", "ipalm", marks=pytest.mark.slow),
        pytest.param("modl", "admm", marks=pytest.mark.slow),
    ],
)
def test_training_continues_from_a_checkpoint_bit_by_bit(kind, name, batch, tmp_path):
    """Five epochs at once, and the last two of them from what was saved after three, whole or as weights alone.

    Without graphs, which take longer to make than to run here.
    """
    model = network(kind, MAKERS[name]())
    model.run_eagerly = True
    saving = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    losses = fit(model, batch, 5, callbacks=saving)["batch_loss"]
    assert len(set(losses)) == 5
    expected = [ops.convert_to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]
    whole = keras.saving.load_model(tmp_path / "3.keras")
    alone = network(kind, MAKERS[name]())
    alone.optimizer.build(alone.trainable_variables)
    alone.load_weights(tmp_path / "3.weights.h5")
    for again in (whole, alone):
        again.run_eagerly = True
        assert fit(again, batch, 2)["batch_loss"] == losses[3:]
        for variable, value in zip((*again.variables, *again.optimizer.variables), expected, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(variable), value, err_msg=variable.path)


def spy(function, calls):
    @functools.wraps(function)
    def called(*arguments, **named):
        calls.append(1)
        return function(*arguments, **named)

    return called


@pytest.mark.parametrize(("name", "forward", "copies"), [("sgd", 1, 0), ("adam", 1, 2), ("admm", 1, 2)])
def test_only_ipalm_evaluates_the_loss_again(name, forward, copies, batch, monkeypatch):
    """Forward passes of a step, and what the optimizer keeps beside the weights, also in the mix-in of iPALM."""
    model, passes = network("varnet", MAKERS[name]()), []
    monkeypatch.setattr(model.regularizer, "compute", spy(model.regularizer.compute, passes))
    model.run_eagerly = True
    fit(model, batch, 2)
    assert len(passes) == 2 * forward * SETTINGS["varnet"].iterations
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    kept = [tuple(variable.shape) for variable in model.optimizer.variables if len(variable.shape)]
    assert sorted(kept) == sorted(copies * shapes)


def test_a_step_is_traced_once(batch, monkeypatch):
    """TensorFlow traces a function again whose first call makes variables, such as those of the optimizer."""
    model, calls = network("varnet", MAKERS["adam"]()), []
    monkeypatch.setattr(model.regularizer, "compute", spy(model.regularizer.compute, calls))
    fit(model, batch, 2)
    # The loop over iterations has one.
    assert len(calls) == 1


@pytest.mark.parametrize("name", slow_but(["ipalm", "admm"], "admm"))
@pytest.mark.parametrize("kind", slow_but(["varnet", "modl"], "varnet"))
def test_the_lean_plan_takes_the_same_steps(kind, name, batch):
    histories = []
    for memory in ("plain", "lean"):
        model = build(SETTINGS[kind], weights.random(SETTINGS[kind], 0), memory=memory)
        model.compile(optimizer=MAKERS[name]())
        histories.append(fit(model, batch, 4))
    plain, leanly = histories
    assert len(set(plain["batch_loss"])) == 4
    np.testing.assert_allclose(leanly["batch_loss"], plain["batch_loss"], rtol=1e-5)
    assert leanly.get("backtracks") == plain.get("backtracks")
