"""Arguments of the optimizers: each survives a round trip, wrong ones are named."""

import json

import keras
import pytest

from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM
from tf_models.optimizers.schedules import BartSchedule

CONFIGURED = [
    SGD(0.1, shrinkage=0.2, bart_clip_norm=1.0, momentum=0.5),
    Adam(0.01, epsilon=1e-6, beta_1=0.8, reset_steps=3, bart_clip_value=2.0),
    IPALM(0.5, "bart", {"alpha": 0.3, "slack": 0.1}, {"conv": ["zero_mean_unit_ball"], "rbf": ["l1", 0.1]}),
    IPALM(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
    ADMM(0.1, rho=3.0, relaxation=1.5, dual_interval=2, balancing=True, proximal={"rbf": ["box", -1, 1]}),
    ADMM(keras.optimizers.schedules.InverseTimeDecay(0.1, 100, 1.0), clipnorm=1.0),
]


@pytest.mark.parametrize(
    "optimizer", CONFIGURED, ids=["sgd", "adam", "ipalm", "ipalm schedule", "admm", "admm schedule"]
)
def test_configuration_round_trip(optimizer):
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()


# What would only be noticed at the first update, or never.
WRONG_MAPS = [
    (["l3"], "must be a list that begins with one of l1"),
    ("l1", "must be a list that begins with one of l1"),
    ([], "must be a list that begins with one of l1"),
    (["box", 1], "too few or too many numbers for box"),
    (["box", 0, 1, 2], "too few or too many numbers for box"),
    (["box", 1, 0], "`upper` must be a number at least 1. Received: upper=0"),
    (["box", "a", "b"], "`lower` must be a number"),
    (["box", float("nan"), 1], "`lower` must be a number"),
    (["l1", -1], "`weight of l1` must be a number at least 0"),
    (["squared_l2", 1, 2], "too few or too many numbers for squared_l2"),
    (["non_negative", 1], "too few or too many numbers for non_negative"),
]

WRONG_RULES = [
    {"alpha": -0.1},
    {"alpha": 0.5, "beta": 0.1, "step": "nonconvex"},
    {"alpha": 1.0, "beta": 0.1, "step": "convex"},
    {"beta": -0.1},
    {"increase_factor": 1.0},
    {"decrease_factor": 0.5},
    {"lipschitz_min": 0.0},
    {"lipschitz_max": 1e-11},
    {"slack": -1.0},
    {"maximum_tries": 0},
    {"step": "long"},
]

WRONG_SCHEDULES = [
    ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0"),
    ({"final_learning_rate": 0.0}, "`final_learning_rate` must be a number above 0"),
    ({"epochs": 0}, "`epochs` must be a whole number at least 1"),
    ({"batches": 0}, "`batches` must be a whole number at least 1"),
    ({"cosine_epochs": 1, "final_learning_rate": 0.1}, "`cosine_epochs` must be a whole number at least 2"),
    ({"cosine_epochs": 2}, "`cosine_epochs` needs a `final_learning_rate`"),
    ({"warmup_epochs": -1}, "`warmup_epochs` must be a whole number at least 0"),
]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IPALM(preset="best"), "`preset` must be one of paper, bart, vn. Received: preset=best"),
        (lambda: IPALM(rules={"speed": 1}), "`rules` must be fields of Rules. Received: speed"),
        (lambda: IPALM(clipnorm=1.0), "`clipnorm` is not supported"),
        *(
            (lambda rho=rho: ADMM(rho=rho), "`rho` must be a number above 0")
            for rho in (0.0, float("nan"), float("inf"))
        ),
        (lambda: ADMM(relaxation=2.0), "`relaxation` must be in the range"),
        *(
            (lambda count=count: ADMM(dual_interval=count), "`dual_interval` must be a whole number at least 1")
            for count in (0, 1.5, True)
        ),
        *(
            (lambda make=make, rate=rate: make(learning_rate=rate), "`learning_rate` must be a number above 0")
            for make in (SGD, Adam, ADMM, IPALM)
            for rate in (0.0, -1.0, float("nan"), float("inf"))
        ),
        *(
            (lambda make=make, name=name: make(**{name: -0.1}), f"`{name}` must be a number at least 0")
            for make in (SGD, Adam)
            for name in ("shrinkage", "bart_clip_norm", "bart_clip_value")
        ),
        (lambda: Adam(epsilon=0.0), "`epsilon` must be a number above 0. Received: epsilon=0.0"),
        (lambda: Adam(amsgrad=True), "`amsgrad` is not supported"),
        (lambda: Adam(beta_1=1.0), "`beta_1` must be a number at least 0 and below 1"),
        (lambda: Adam(reset_steps=0), "`reset_steps` must be a whole number at least 1"),
        *(
            (lambda rules=rules: IPALM(rules=rules), f"`{name}` must be")
            for rules in WRONG_RULES
            for name in list(rules)[:1]
        ),
        *((lambda words=words: ADMM(proximal={"w": words}), message) for words, message in WRONG_MAPS),
        *((lambda words=words: IPALM(proximal={"w": words}), message) for words, message in WRONG_MAPS),
        (
            lambda: ADMM(proximal={"w": ["zero_mean_unit_ball"]}).build([keras.Variable([1.0], name="w")]),
            r"is for filters .* Received: w \(1,\)",
        ),
        *(
            (lambda change=change: BartSchedule(**{"learning_rate": 1.0, "epochs": 3, "batches": 2, **change}), message)
            for change, message in WRONG_SCHEDULES
        ),
        (lambda: ADMM(weight_decay=0.1), "`weight_decay` is not supported"),
        (lambda: IPALM().apply([1.0], [keras.Variable(1.0)]), "evaluates the objective: train a model with Closure"),
        (lambda: ADMM(proximal={"x": ["l1"]}).build([keras.Variable(1.0, name="w")]), "must name variables"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
