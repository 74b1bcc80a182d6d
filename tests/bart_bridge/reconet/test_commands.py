"""Training and applying networks with the real `bart reconet`, and judging what it leaves behind."""

import copy
import dataclasses
import os
import shutil
import signal

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.fourier import centred_ifft
from bart_bridge.errors import DivergedError, InputError, ToolError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.divergence import DivergenceWatch
from bart_bridge.reconet.history import parse_progress, read_history
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process, versions

VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=5, basis=4)
MODL = ModlSettings(iterations=2, layers=3, filters=2)
EPOCHS, BATCHES = 3, 2


def varnet(**settings):
    return VARNET.model_copy(update=settings)


class Run:
    """One training of a network with BART, from our initial weights."""

    def __init__(self, toolbox, split, network, folder, training, epochs=1, **options):
        self.network, self.folder, self.lines = network, folder, []
        self.weights, self.history, initial = folder / "weights", folder / "history", folder / "initial"
        self.initial = weights.initial(network, 0)
        weights.write(initial, network, self.initial)
        files = commands.TrainingFiles(split, self.weights, initial, self.history)
        self.argv = commands.train_argv(toolbox, network, training, epochs, files)
        options = {"on_line": self.lines.append, **options}
        self.finished = process.run(self.argv, folder=folder, timeout_s=60, **options)

    def check(self, **changes):
        finished = dataclasses.replace(self.finished, **changes)
        commands.check_trained(self.argv, finished, self.network, self.weights, self.history)

    def read_history(self):
        return read_history(self.history, self.network)

    def read_weights(self):
        return weights.read(self.weights, self.network)

    def copied_to(self, folder):
        """The same run with files that may be damaged."""
        other = copy.copy(self)
        other.folder = shutil.copytree(self.folder, folder)
        other.weights, other.history = folder / "weights", folder / "history"
        return other


@pytest.fixture(scope="module")
def split(dataset_folder):
    return Dataset.open(dataset_folder).split("train")


@pytest.fixture(scope="module", params=[VARNET, MODL], ids=lambda network: network.kind)
def trained(request, toolbox, split, tmp_path_factory):
    """Three epochs of two batches."""
    return Run(toolbox, split, request.param, tmp_path_factory.mktemp("trained"), Training(batch_size=2), EPOCHS)


@pytest.fixture
def train(toolbox, split, tmp_path_factory):
    """Train one epoch with other settings, each time in a new folder."""

    def train(network, other=split, **training):
        return Run(toolbox, other, network, tmp_path_factory.mktemp("run"), Training(**training))

    return train


@pytest.fixture
def apply(toolbox, split, tmp_path):
    """Reconstruct with weights from memory; returns `(batch, coil, y, x)`."""

    def apply(network, values, other=split):
        weights.write(tmp_path / "applied", network, values)
        argv = commands.apply_argv(toolbox, network, other, tmp_path / "applied", tmp_path / "output")
        finished = process.run(argv, folder=tmp_path, timeout_s=60)
        assert finished.returncode == 0, finished.stderr
        return to_batch_coil_yx(np.array(cfl.read(tmp_path / "output"), order="F"))

    return apply


# Progress


def test_progress_of_a_real_run(trained):
    progress = [parsed for line in trained.lines if (parsed := parse_progress(line))]
    expected = [(epoch, batch, BATCHES) for epoch in range(1, EPOCHS + 1) for batch in range(1, BATCHES + 1)]
    assert [(step.epoch, step.batch, step.batches) for step in progress] == expected
    np.testing.assert_allclose([step.loss for step in progress], trained.read_history()["loss"].ravel(), rtol=1e-5)


# Training


def test_training_succeeds_although_bart_aborts(trained):
    assert trained.finished.returncode in {0, -signal.SIGABRT}
    trained.check()
    trained.check(returncode=-signal.SIGABRT)


def test_training_starts_from_the_given_weights_and_changes_them(trained):
    learned = trained.read_weights()
    moved = {name: np.abs(learned[name] - values).max() for name, values in trained.initial.items()}
    assert min(moved["lambda"], moved["conv" if trained.network.kind == "varnet" else "bias_n"]) > 0
    # A step of Adam is about the learning rate, 0.001; running statistics of batch norm know no such bound.
    assert max(step for name, step in moved.items() if not name.startswith("bn")) < 0.02


def test_history_columns(trained):
    history = trained.read_history()
    lambdas = [name for name in history if name.startswith("lambda")]
    assert list(history) == ["seconds", "loss", *lambdas]
    assert {values.shape for values in history.values()} == {(EPOCHS, BATCHES)}
    assert np.all(np.diff(history["seconds"], axis=1) > 0)
    assert np.all(history["loss"][-1] < history["loss"][0])
    np.testing.assert_allclose([history[name][-1, -1] for name in lambdas], trained.read_weights()["lambda"].real)


def test_training_improves_the_images(train, apply, split):
    run = train(VARNET, learning_rate=0.01)
    reference = np.abs(split.arrays()["reference"])
    before, after = (np.abs(apply(VARNET, values)) for values in (run.initial, run.read_weights()))
    assert np.linalg.norm(after - reference) < np.linalg.norm(before - reference)


@pytest.mark.parametrize("loss", ["mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim"])
def test_every_loss_is_understood(train, loss):
    run = train(VARNET, loss=loss)
    run.check()
    assert run.read_history()["loss"][0, 0] > 0
    assert f"--train-loss={loss}=1" in run.argv


@pytest.mark.parametrize(("network", "loss"), [(VARNET, "mse-magnitude"), (MODL, "mse")])
def test_default_loss_is_that_of_the_network(toolbox, split, network, loss):
    files = commands.TrainingFiles(split, "weights", "initial", "history")
    assert f"--train-loss={loss}=1" in commands.train_argv(toolbox, network, Training(), 1, files)


@pytest.mark.parametrize(
    "network",
    [
        varnet(data_consistency="proximal-mapping", max_cg_iterations=3),
        varnet(shared_weights=True, shared_lambda=True),
        varnet(normalize=False),
        MODL.model_copy(update={"data_consistency": "gradient-step"}),
        MODL.model_copy(update={"batch_norm": False, "bias": False, "shared_lambda": False}),
    ],
    ids=["proximal", "shared", "not normalized", "gradient", "plain"],
)
def test_every_option_is_understood(train, network):
    run = train(network)
    run.check()
    assert np.isfinite(run.read_history()["loss"]).all()


def test_fixed_lambda_is_neither_stored_nor_recorded(train):
    run = train(varnet(fixed_lambda=0.1))
    run.check()
    assert set(run.read_weights()) == {"conv", "rbf"}
    assert set(run.read_history()) == {"seconds", "loss"}


def test_gradient_descent_follows_its_learning_rate(train):
    steps = []
    for rate in (1e-3, 2e-3):
        run = train(VARNET, algorithm="sgd", learning_rate=rate)
        run.check()
        steps.append((run.read_weights()["rbf"] - run.initial["rbf"]).real)
    np.testing.assert_allclose(steps[1], 2 * steps[0], atol=0.05 * np.abs(steps[1]).max())


@pytest.mark.parametrize(("batch_size", "batches"), [(1, 4), (3, 1), (4, 1), (100, 1)])
def test_batches_of_an_epoch(train, batch_size, batches):
    run = train(VARNET, batch_size=batch_size)
    run.check()
    assert run.read_history()["loss"].shape == (1, batches)


def test_pattern_may_be_left_to_bart(train, split):
    with_pattern = train(VARNET).read_history()["loss"]
    run = train(VARNET, dataclasses.replace(split, pattern=None))
    assert not any(word.startswith("--pattern") for word in run.argv)
    np.testing.assert_allclose(run.read_history()["loss"], with_pattern, rtol=1e-6)


def test_split_without_reference_is_refused(toolbox, split, tmp_path):
    blind = dataclasses.replace(split, reference=None)
    with pytest.raises(InputError, match="train: training needs a reference, there is none"):
        Run(toolbox, blind, VARNET, tmp_path, Training())


# Judging a training


def test_abort_without_weights_is_a_failure(trained, tmp_path):
    run = trained.copied_to(tmp_path / "copy")
    run.weights.with_suffix(".hdr").unlink()
    with pytest.raises(ToolError, match=r"bart reconet was ended by SIGABRT; command: .*reconet --train"):
        run.check(returncode=-signal.SIGABRT)


def change_history(run):
    history = np.array(cfl.read(run.history))
    history[-1, -1, 0, 1] = 0
    cfl.write(run.history, history)


def change_weights(run):
    arrays = multi_cfl.read(run.weights)
    arrays[1][0] = np.nan
    multi_cfl.write(run.weights, arrays)


def truncate_weights(run):
    data = run.weights.with_suffix(".cfl")
    data.write_bytes(data.read_bytes()[:-8])


def remove_history(run):
    run.history.with_suffix(".cfl").unlink()


@pytest.mark.parametrize("damage", [change_history, truncate_weights, remove_history])
def test_abort_with_incomplete_files_is_a_failure(trained, tmp_path, damage):
    run = trained.copied_to(tmp_path / "copy")
    damage(run)
    with pytest.raises(ToolError, match="bart reconet was ended by SIGABRT") as raised:
        run.check(returncode=-signal.SIGABRT)
    assert raised.value.returncode == -signal.SIGABRT
    assert raised.value.argv == tuple(run.argv)


@pytest.mark.parametrize("returncode", [0, -signal.SIGABRT])
def test_weights_that_are_not_finite_are_those_of_a_training_that_diverged(trained, tmp_path, returncode):
    run = trained.copied_to(tmp_path / "copy")
    change_weights(run)
    with pytest.raises(DivergedError, match="diverged at update 6: the weights are not finite") as raised:
        run.check(returncode=returncode)
    assert raised.value.diverged_at_update == EPOCHS * BATCHES


# Far more epochs than a test waits for: only a training that is ended ends.
@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (VARNET, "diverged at update 2: the loss is nan"),
        (MODL, "diverged at update [2-9]: BART warned of values that are"),
    ],
    ids=["varnet", "modl"],
)
def test_training_that_diverges_is_ended(toolbox, split, tmp_path, network, reason):
    shown = []
    watch = DivergenceWatch(shown.append, 100_000 * BATCHES)
    settings = Training(algorithm="sgd", learning_rate=1e20, batch_size=2)
    run = Run(toolbox, split, network, tmp_path, settings, epochs=100_000, on_line=watch)
    assert run.finished.returncode == -signal.SIGTERM
    assert not cfl.exists(run.weights)
    with pytest.raises(DivergedError, match=reason):
        watch.check()
    assert shown[0].loss > 0


@pytest.mark.parametrize(
    ("returncode", "message"), [(1, "exited with code 1"), (-9, "ended by SIGKILL"), (-11, "ended by SIGSEGV")]
)
def test_other_ends_are_failures_whatever_was_written(trained, returncode, message):
    with pytest.raises(ToolError, match=f"bart reconet .*{message}"):
        trained.check(returncode=returncode)


def test_training_that_cannot_start_is_a_failure(train, split, tmp_path):
    run = train(VARNET, dataclasses.replace(split, pattern=tmp_path / "missing"))
    with pytest.raises(ToolError, match=r"^bart reconet .*; command: .*/missing"):
        run.check()


def test_training_that_is_killed_is_a_failure(toolbox, split, tmp_path):
    pids = []

    def kill(line):
        if parse_progress(line) and pids:
            os.kill(pids.pop(), signal.SIGABRT)

    run = Run(toolbox, split, VARNET, tmp_path, Training(), epochs=100_000, on_start=pids.append, on_line=kill)
    assert run.finished.returncode == -signal.SIGABRT
    with pytest.raises(ToolError, match="bart reconet was ended by SIGABRT"):
        run.check()


# Applying


def test_apply_reconstructs_every_slice(trained, apply, split):
    output = apply(trained.network, trained.read_weights())
    assert output.shape == split.arrays()["reference"].shape
    assert np.isfinite(output).all()
    assert output.any(axis=(1, 2, 3)).all()


def test_apply_uses_the_weights(apply):
    weak, strong = (apply(VARNET, weights.initial(varnet(initial_lambda=value), 0)) for value in (0.01, 1))
    assert np.linalg.norm(strong - weak) > 0.01 * np.linalg.norm(weak)


def test_apply_uses_the_number_of_cg_iterations(apply):
    networks = [MODL.model_copy(update={"max_cg_iterations": number}) for number in (1, 10)]
    few, many = (apply(network, weights.initial(network, 0)) for network in networks)
    assert np.linalg.norm(many - few) > 0.01 * np.linalg.norm(many)


def test_untrained_modl_comes_closer_to_the_reference(apply, split):
    arrays = split.arrays()
    output = apply(MODL, weights.initial(MODL, 0))
    adjoint = np.sum(arrays["coils"][:, 0].conj() * centred_ifft(arrays["kspace"]), axis=1, keepdims=True)
    errors = [np.linalg.norm(image - arrays["reference"]) for image in (output, adjoint)]
    assert errors[0] < 0.8 * errors[1]


def test_apply_needs_no_reference(apply, split):
    values = weights.initial(VARNET, 0)
    blind = dataclasses.replace(split, reference=None)
    np.testing.assert_array_equal(apply(VARNET, values, blind), apply(VARNET, values))


def test_normalized_network_scales_with_its_input(apply, split, tmp_path):
    cfl.write(tmp_path / "scaled", 1000 * cfl.read(split.kspace))
    scaled, values = dataclasses.replace(split, kspace=tmp_path / "scaled"), weights.initial(VARNET, 0)
    output, normal = apply(VARNET, values, scaled), apply(VARNET, values)
    np.testing.assert_allclose(output, 1000 * normal, atol=1e-5 * np.abs(output).max())
    plain = varnet(normalize=False)
    assert not np.allclose(apply(plain, values, scaled), 1000 * apply(plain, values), rtol=1e-3)


def test_an_error_of_bart_is_not_excused_by_the_files_of_an_earlier_training(toolbox, split, tmp_path):
    """Up to version 0.9, BART's own errors are aborts, too."""
    Run(toolbox, split, VARNET, tmp_path, Training()).check()
    failed = Run(toolbox, dataclasses.replace(split, reference=tmp_path / "none"), VARNET, tmp_path, Training())
    assert failed.finished.returncode == (1 if toolbox.has(versions.ERRORS_EXIT) else -signal.SIGABRT)
    with pytest.raises(ToolError):
        failed.check()


def test_a_single_slice_is_refused(toolbox, split, tmp_path):
    paths = {}
    for name in ("kspace", "coils", "pattern", "reference"):
        paths[name] = tmp_path / name
        cfl.write(paths[name], cfl.read(getattr(split, name))[..., :1])
    older = dataclasses.replace(toolbox, version=(0, 9, 0))
    with pytest.raises(InputError, match=r"BART 0\.9\.00 trains on two slices or more, found 1"):
        Run(older, dataclasses.replace(split, **paths), VARNET, tmp_path, Training())


def test_a_comma_in_the_path_of_the_history_is_refused(toolbox, split, tmp_path):
    (tmp_path / "a,b").mkdir()
    with pytest.raises(InputError, match="no comma"):
        Run(toolbox, split, VARNET, tmp_path / "a,b", Training())
