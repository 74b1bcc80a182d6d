"""`bart-tf parity`: it passes where both engines compute the same, and every fault of 1e-3 makes it fail."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from compare import parity
from compare.settings.experiment import DatasetChoice, load
from tests.compare.cli.test_terminal import foreign_lines
from tests.compare.conftest import bart_tf
from tf_models.networks import build as building
from tf_models.training import fit

STAGES = ("adjoint", "image after 1", "image after 2", "losses, initial weights")
FAULT = 1e-3


@pytest.fixture
def stage_of(tiny_config, toolbox):
    """Compare one network up to a stage, and return that stage."""
    experiment = load(tiny_config)

    def compute(network, name):
        alone = experiment.model_copy(update={"networks": {network: experiment.networks[network]}})
        return next(stage for stage in parity.stages(alone, toolbox) if stage.name == name)

    return compute


def test_every_stage_is_shown_beside_the_difference_of_bart_from_itself(tiny_config):
    finished = bart_tf("parity", tiny_config)
    assert finished.stdout.endswith("\n"), "the next thing on the terminal would go on in this line"
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert foreign_lines(finished.stderr) == []
    for stage in STAGES:
        assert finished.stdout.count(stage) == 2, stage
    assert "BART to itself" in finished.stdout
    # The training of MoDL starts from gamma = 0, that of VarNet has no zeros.
    assert finished.stdout.count("losses, nonzero weights") == 1


def test_a_gpu_needs_a_bart_with_cuda(tiny_config, toolbox):
    if toolbox.has_cuda:
        pytest.skip("this BART has CUDA")
    experiment = load(tiny_config).model_copy(update={"device": "gpu"})
    with pytest.raises(InputError, match=r"device: .* was built without CUDA, 'gpu' needs a BART with it"):
        next(parity.stages(experiment, toolbox))


@pytest.mark.parametrize(
    ("network", "fault"),
    [
        ("varnet", "one weight"),
        ("modl", "sign of one weight"),
        pytest.param("varnet", "scale of the image", marks=pytest.mark.slow),
        pytest.param("modl", "one weight", marks=pytest.mark.slow),
        pytest.param("varnet", "sign of one weight", marks=pytest.mark.slow),
        pytest.param("modl", "scale of the image", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_image_makes_it_fail(stage_of, monkeypatch, network, fault):
    build = building.build

    def build_wrongly(settings, values, *arguments, **options):
        # Not the filters of VarNet: under its odd activations, their sign means nothing.
        name = next(name for name in values if name.startswith("rbf" if network == "varnet" else "conv"))
        values = {key: np.array(value) for key, value in values.items()}
        if fault == "one weight":
            values[name] *= 1 + FAULT
        elif fault == "sign of one weight":
            values[name] *= -1
        model = build(settings, values, *arguments, **options)
        if fault == "scale of the image":
            predict = model.predict
            model.predict = lambda *inputs, **kwargs: predict(*inputs, **kwargs) * (1 + FAULT)
        return model

    monkeypatch.setattr(building, "build", build_wrongly)
    assert not stage_of(network, "image after 1").agrees


@pytest.mark.parametrize(
    ("network", "start"), [("varnet", "initial"), pytest.param("modl", "nonzero", marks=pytest.mark.slow)]
)
def test_a_wrong_training_makes_it_fail(stage_of, monkeypatch, network, start):
    make_optimizer = fit._optimizer

    def make_optimizer_wrongly(settings, *arguments):
        return make_optimizer(
            settings.model_copy(update={"learning_rate": settings.learning_rate * (1 + FAULT)}), *arguments
        )

    monkeypatch.setattr(fit, "_optimizer", make_optimizer_wrongly)
    assert not stage_of(network, f"losses, {start} weights").agrees


@pytest.mark.parametrize("data", [{"size": 17}, {"size": 18, "pattern": "radial", "spokes": 9}], ids=["odd", "radial"])
def test_the_image_agrees_with_every_bart(tiny_config, each_toolbox, data):
    experiment = load(tiny_config)
    dataset = DatasetChoice(simulate={**data, "coil_count": 2, "train": 2, "validation": 1, "test": 2})
    alone = {"dataset": dataset, "networks": {"varnet": experiment.networks["varnet"]}}
    stages = parity.stages(experiment.model_copy(update=alone), each_toolbox)
    image = next(stage for stage in stages if stage.name == "image after 1")
    assert image.agrees, image


def test_a_number_that_is_none_never_agrees():
    assert not parity.Stage("varnet", "adjoint", float("nan"), 1e-7).agrees
    assert not parity.Stage("varnet", "adjoint", 1e-7, float("nan")).agrees


def test_a_perturbed_copy_differs_in_the_last_bit_and_in_the_order_of_batches(dataset_folder, tmp_path):
    split = Dataset.open(dataset_folder).split("train")
    copy = parity.perturb(split, tmp_path / "copy", 2, seed=0)
    order = [1, 0, 3, 2]
    before, after = split.arrays(), copy.arrays()
    for name in ("coils", "reference"):
        np.testing.assert_array_equal(after[name], before[name][order])
    kspace, changed = (np.ascontiguousarray(a).view(np.float32) for a in (before["kspace"][order], after["kspace"]))
    measured = kspace != 0
    np.testing.assert_array_equal(changed[~measured], 0)
    steps = (changed - kspace)[measured] / np.spacing(np.abs(kspace[measured]))
    assert set(np.abs(steps)) <= {0.5, 1.0}  # below a power of 2 numbers lie twice as close
    assert 0.3 < np.mean(steps > 0) < 0.7
    assert cfl.read_dims(copy.kspace)[:4] == cfl.read_dims(split.kspace)[:4]
