"""Networks that train in a moment, with each optimizer."""

import keras

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tf_models.networks.build import build
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM

SETTINGS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=3, kernel_y=3, basis=5),
    "modl": ModlSettings(iterations=1, layers=3, filters=2, max_cg_iterations=3),
}

MAKERS = {
    "sgd": lambda: SGD(0.01),
    "adam": lambda: Adam(0.01),
    "ipalm": lambda: IPALM(keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5), preset="bart"),
    "admm": lambda: ADMM(keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5), dual_interval=2),
}


def network(kind, optimizer):
    model = build(SETTINGS[kind], weights.random(SETTINGS[kind], 0))
    model.compile(optimizer=optimizer)
    return model


def fit(model, batch, epochs, **arguments):
    return model.fit(*batch, batch_size=2, epochs=epochs, shuffle=False, verbose=0, **arguments).history
