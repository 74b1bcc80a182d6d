"""The same command lines through `bart reconet` and `bart-tf reconet`: every file that they write."""

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.command_line import parse
from bart_bridge.reconet.training_settings import IpalmRules
from bart_bridge.tools import versions
from compare.cli import app
from tests.helper import slow_but
from tf_models.programs import reconet

SMALL = {
    "varnet": "--network varnet -I2 --varnet-block F=3,X=5,Y=3,W=7",
    "modl": "--network=modl -I 2 --resnet-block L=4,F=4",
}
DATA = "--pattern {d}/pattern {d}/kspace {d}/coils"
VALID = "--valid-data=k={v}/kspace,c={v}/coils,p={v}/pattern,r={v}/reference"
TRAIN = {
    "varnet adam": "{varnet} --train -n -b 2 -l {w} -T adam,e=3,export-history=h,dump-mod=2",
    "varnet sgd, one lambda": "{varnet} --train --shared-lambda -n --load {w} -Tsgd,r=0.05,e=3,export-history=h",
    "varnet ipalm": "{varnet} -t -n -b 2 -l {w} -T e=5,export-history=h,dump-mod=2 " + VALID,
    "varnet ipalm, rejected tries": "{varnet} -t -n -b 2 -l {w} -T r=1e4,e=5,export-history=h",
    "varnet ipalm, one lambda and set of filters": "{varnet} -t -n --shared-lambda --shared-weights -l {w} "
    "-T r=10,e=5,export-history=h",
    "varnet validation": "{varnet} -t -b 2 -l {w} -T adam,e=2,export-history=h " + VALID,
    "varnet schedules": "{varnet} -t -n -l {w} -b 2 -T sgd,r=0.1,e=5,epochs-warmup=1,learning-rate-min=0.01,"
    "weight-decay=0.5,export-history=h",
    "varnet warm-up": "{varnet} -t -n -l {w} -b 2 -T sgd,r=0.1,e=3,epochs-warmup=1,weight-decay=0.5,export-history=h",
    "varnet cosine": "{varnet} -t -n -l {w} -T adam,r=0.01,e=6,learning-rate-min=0.001,cosine-annealing-mod=3,"
    "export-history=h --adam beta1=0.8,epsilon=1e-6,reset-momentum=2",
    "varnet losses": "{varnet} -t -n -l {w} --train-loss mse=1,mad-magnitude=0.1 -T sgd,e=2,export-history=h",
    "varnet proximal": "{varnet} -t -n -l {w} --data-consistency proximal-mapping,max-cg-iter=4 "
    "-T adam,e=2,export-history=h",
    "varnet clipped norm": "{varnet} -t -n -l {w} -T sgd,r=20,e=4,clip-norm=1e-5,export-history=h",
    "varnet clipped value": "{varnet} -t -n -l {w} -T sgd,r=20,e=4,clip-value=2e-4,export-history=h",
    "varnet lowmem": "{varnet} --train -n -b 2 -l {w} --lowmem -T adam,e=3,export-history=h",
    "modl lowmem": "{modl} --train --normalize -b2 --load={w} --lowmem -T adam,epochs=3,export-history=h",
    "modl": "{modl} --train --normalize -b2 --load={w} -T adam,epochs=3,export-history=h,dump-mod=1",
    "modl validation": "{modl} --train --normalize -b2 --load={w} -T adam,epochs=2,export-history=h " + VALID,
    "modl from one iteration": "{modl} --train -n -l {one} -T sgd,e=2,export-history=h",
    "modl trained sense": "{modl} -t -n -l {w} --initial-reco sense -T adam,e=3,export-history=h",
    "varnet own lambda of sense": "{varnet} -t -n -l {w} --initial-reco sense,fix-lambda=-1,max-cg-iter=7 "
    "-T adam,r=0.01,e=4,export-history=h",
    "modl own lambda of sense": "{modl} -t -n -l {w} --initial-reco sense,lambda-init=0.3 -T adam,e=3,export-history=h",
    "modl own lambda of sense, lowmem": "{modl} -t -n -l {w} --initial-reco sense --no-shared-lambda --lowmem "
    "-T adam,e=3,export-history=h",
    "modl clipped norm": "{modl} -t -n -l {w} -T sgd,r=0.1,e=4,clip-norm=1e-5,export-history=h",
    "modl decay": "{modl} -t -l {w} -T adam,e=3,weight-decay=0.1,batchnorm-momentum=0.8,export-history=h",
}
APPLY = {
    "varnet": "{varnet} --apply -n",
    "varnet lowmem": "{varnet} --apply -n --lowmem",
    "varnet rss": "{varnet} -a --rss-norm",
    "varnet sense": "{varnet} -a -n --initial-reco sense,fix-lambda=0.1,max-cg-iter=7",
    "varnet sense without lambda": "{varnet} -a --initial-reco sense,max-cg-iter=8",
    "modl": "{modl} --apply --normalize --rss-norm",
    "modl sense": "{modl} --apply --normalize --initial-reco sense",
    "modl own lambda of sense": "{modl} --apply --normalize --initial-reco sense,max-cg-iter=4",
    "modl own lambda of sense beside a fixed one": "{modl} --apply --data-consistency fix-lambda=0.2 "
    "--initial-reco sense,fix-lambda=-1",
    "modl lambda-init of sense without effect": "{modl} --apply -n --initial-reco sense,fix-lambda=0.2,lambda-init=3",
}
REFUSED = {
    "--mask x": "--mask is not supported",
    "--iPALM L-max=10": "BART ignores --iPALM unless iPALM is named",
    "--iPALM s,L-size=10": "'L-size' is not supported",
    "-T ipalm,sgd": "name one training algorithm, not ipalm and sgd",
    "-T e=2,weight-decay=0.1": "ipalm has no learning-rate schedule, weight_decay or clipping",
    "--unknown": "--unknown",
    "-T adam,average-loss": "'average-loss' is not supported",
    "-T adam,e=many": "--train-algo: e needs an integer, received 'many'",
    "-T adam --adam s": "name one training algorithm, not adam and adam",
    "--adam beta1=0": "BART ignores --adam unless adam is named",
    "--varnet-block F=0": "filters: .*greater than 0 .received 0",
    "--data-consistency gradient-step,proximal-mapping": "exclude each other",
    "-T adam --varnet-block Z=3": "Z must be 1",
    "-T adam --resnet-block L=3": "does not belong to varnet",
    "-T adam --apply": "exactly one of",
    "-T adam --initial-reco liniter": "'liniter' is not supported",
    "--ksp-training": "--ksp-training is not supported",
    "--bart-version 0.7": "--bart-version needs one of 0.8, 0.9, 1.0, received '0.7'",
    "--bart-version 0.9 -T ipalm": r"BART 0\.9\.00 trains with Adam if ipalm is named: name adam, or nothing",
    "-T adam,epochs-warmup=1,learning-rate-min=1e-5,e=4": r"BART 1\.0\.00 repeats the first epochs of a falling",
    "--bart-version 0.8 --iPALM s": r"BART 0\.8\.00 trains with Adam",
}


def line(template, dataset_folder, folder):
    paths = {
        "d": dataset_folder / "train",
        "v": dataset_folder / "validation",
        "w": folder / "w",
        "one": folder / "one",
    }
    return shlex.split(template.format(**SMALL, **paths))


def networks_of(arguments, toolbox):
    return parse([*arguments, "a", "b", "c", "d"], toolbox.version).network


@pytest.fixture
def both(dataset_folder, toolbox, tmp_path, monkeypatch):
    """Run a command line in both programs, each in its own folder."""

    def run(template, result, data=None):
        arguments = line(template, dataset_folder, tmp_path)
        network = networks_of(arguments, toolbox)
        weights.write(tmp_path / "w", network, weights.random(network, 0))
        single = network.model_copy(update={"iterations": 1})
        weights.write(tmp_path / "one", single, weights.random(single, 0))
        arguments += [*(data or line(DATA, dataset_folder, tmp_path)), *result(tmp_path)]
        bart, keras = tmp_path / "bart", tmp_path / "keras"
        bart.mkdir()
        keras.mkdir()
        finished = subprocess.run(
            [toolbox.path, "reconet", *arguments], cwd=bart, capture_output=True, text=True, check=False, timeout=300
        )
        # BART aborts after it has written everything; what it wrote is compared.
        assert finished.returncode == 0 or "(): invalid " in finished.stderr, finished.stderr
        # In this process, because starting TensorFlow takes longer than these trainings.
        monkeypatch.chdir(keras)
        reconet.run(parse(arguments, toolbox.version), lambda progress: None)
        return network, bart, keras

    return run


def assert_same_weights(network, found, expected):
    """Compare all weights as one vector: single biases of MoDL jump where a ReLU changes sides under rounding."""
    stored = [weights.read(path, network) for path in (found, expected)]
    vectors = [np.concatenate([array.ravel() for array in arrays.values()]) for arrays in stored]
    assert np.linalg.norm(vectors[0] - vectors[1]) < 1e-3 * np.linalg.norm(vectors[1])


@pytest.mark.parametrize("name", slow_but(TRAIN, "varnet adam", "varnet ipalm", "varnet schedules", "modl lowmem"))
def test_training_writes_the_same_files(name, both, toolbox, dataset_folder):
    if name == "varnet schedules" and toolbox.has(versions.WARMUP_REPEATS_SCHEDULE):
        pytest.skip("refused: this BART repeats a schedule after a warm-up")
    network, bart, keras = both(TRAIN[name], lambda folder: ["weights", str(dataset_folder / "train" / "reference")])
    written = sorted(path.name for path in bart.iterdir())
    assert sorted(path.name for path in keras.iterdir()) == written
    for header in bart.glob("weights*.hdr"):
        assert_same_weights(network, keras / header.stem, header.with_suffix(""))
    history, expected = (cfl.read(folder / "h") for folder in (keras, bart))
    assert history.shape == expected.shape
    np.testing.assert_array_equal(history[:, :, 0], expected[:, :, 0])
    # The first column has the seconds.
    tolerance = 1e-5 if network.kind == "varnet" else 5e-5
    np.testing.assert_allclose(history[:, :, 1, 1:].real, expected[:, :, 1, 1:].real, rtol=20 * tolerance)
    np.testing.assert_allclose(history[:, :, 1, 1].real, expected[:, :, 1, 1].real, rtol=tolerance)


@pytest.mark.parametrize(
    "name", slow_but(APPLY, "varnet", "varnet rss", "varnet sense", "modl sense", "modl own lambda of sense")
)
def test_applying_writes_the_same_images(name, both):
    network, bart, keras = both(APPLY[name], lambda folder: [str(folder / "w"), "images"])
    found, expected = cfl.read(keras / "images"), cfl.read(bart / "images")
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) < (2e-5 if network.kind == "varnet" else 1e-4) * np.linalg.norm(expected)


@pytest.fixture
def one_empty(dataset_folder, tmp_path):
    """A folder with the training data, and `NAME0`, in which slice 1 is all zero."""
    folder = shutil.copytree(dataset_folder / "train", tmp_path / "data")
    for name in ("kspace", "coils", "reference"):
        array = np.array(cfl.read(folder / name))
        array[..., 1] = 0
        cfl.write(folder / f"{name}0", array)
    return folder


@pytest.mark.parametrize("empty", slow_but(["kspace", "coils"], "kspace"))
@pytest.mark.parametrize("options", ["{varnet} -n", "{varnet}", "{modl} -n", "{modl}"])
def test_a_slice_without_a_signal_is_what_bart_makes_of_it(options, empty, both, one_empty, capsys):
    files = {name: str(one_empty / f"{name}{'0' * (name == empty)}") for name in ("kspace", "coils")}
    data = [f"--pattern={one_empty / 'pattern'}", *files.values()]
    network, bart, keras = both(f"{options} --apply", lambda folder: [str(folder / "w"), "images"], data)
    found, expected = (np.moveaxis(cfl.read(folder / "images").squeeze(), -1, 0) for folder in (keras, bart))
    assert np.isnan(expected[1]).all() == (options == "{varnet} -n")
    scale = np.linalg.norm(expected[[0, 2, 3]])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)
    warning = f"{files[empty]}: .*, slice 1 is all zero; --normalize divides it by 0, as in BART\n"
    assert re.fullmatch(f"warning: {warning}" if network.normalize else "", capsys.readouterr().err)


def measures_in(toolbox, arguments):
    """What `bart reconet --eval` prints."""
    finished = toolbox.run("reconet", *arguments)
    lines = finished.stderr if toolbox.has(versions.REPORTS_ON_STDERR) else finished.stdout
    pairs = [text.split(": ") for text in lines[-9 if toolbox.has(versions.SCALED_MSE) else -8 :]]
    return {name: float(value) for name, value in pairs}


def test_a_reference_of_zeros_is_measured_as_bart_measures_it(one_empty, toolbox, tmp_path):
    arguments = line("--eval {varnet} --pattern {d}/pattern {d}/kspace {d}/coils", one_empty.parent, tmp_path)
    arguments = [word.replace("/train/", "/data/") for word in arguments]
    network = networks_of(arguments[:-2], toolbox)
    weights.write(tmp_path / "w", network, weights.random(network, 0))
    arguments += [str(tmp_path / "w"), str(one_empty / "reference0")]
    expected = {name.removeprefix("mean "): value for name, value in measures_in(toolbox, arguments).items()}
    assert reconet.run(parse(arguments, toolbox.version), lambda progress: None) == pytest.approx(expected, rel=1e-4)


def test_evaluation_prints_the_same_measures(dataset_folder, toolbox, tmp_path):
    arguments = line("--eval {varnet} -n " + DATA, dataset_folder, tmp_path)
    network = parse([*arguments[:-2], "a", "b", "c", "d"]).network
    weights.write(tmp_path / "w", network, weights.random(network, 0))
    arguments += [str(tmp_path / "w"), str(dataset_folder / "train" / "reference")]
    ours = CliRunner().invoke(app, ["reconet", *arguments], catch_exceptions=False)
    assert ours.exit_code == 0, ours.output
    expected = measures_in(toolbox, arguments)
    found = {name: float(value) for name, value in (text.split(": ") for text in ours.stdout.splitlines())}
    assert found == pytest.approx(expected, rel=1e-4)
    assert list(found) == list(expected)


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_is_not_supported_is_refused_by_name(arguments):
    argv = ["--train", "--network", "varnet", *shlex.split(arguments), "k", "c", "w", "r"]
    with pytest.raises(InputError, match=REFUSED[arguments]):
        parse(argv)


def test_oversampled_kspace_is_refused_in_one_line(tmp_path):
    """BART crops it, see docs/bart-notes.md, item 42."""
    for name, shape in {"kspace": (24, 12, 1, 2), "coils": (12, 12, 1, 2), "reference": (12, 12)}.items():
        cfl.write(tmp_path / name, np.ones(shape, np.complex64))
    files = [str(tmp_path / name) for name in ("kspace", "coils", "weights", "reference")]
    result = CliRunner().invoke(app, ["reconet", "--train", "--network", "varnet", *files])
    assert result.exit_code != 0
    assert isinstance(result.exception, InputError)
    assert re.fullmatch(r".*coils: dimensions \(.*\) do not match those of .*kspace \(.*\)", str(result.exception))


@pytest.mark.parametrize("network", slow_but(["varnet", "modl"], "modl"))
@pytest.mark.parametrize("compatibility", ["", "v0.9.00"])
def test_without_weights_a_training_starts_from_those_of_bart(
    network, compatibility, both, dataset_folder, monkeypatch
):
    monkeypatch.setenv("BART_COMPAT_VERSION", compatibility)
    reference = str(dataset_folder / "train" / "reference")
    _, bart, keras = both(f"{{{network}}} -t -n -b 2 -T e=1,dump-mod=1", lambda folder: ["weights", reference])
    # A training projects VarNet's filters once more, which may change their last bit.
    last_bit = 2**-24 if network == "varnet" else 0
    for found, expected in zip(*(multi_cfl.read(folder / "weights_0") for folder in (keras, bart)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1.5 * last_bit)


def test_the_test_network_of_bart():
    network = parse(shlex.split("--train --test --network modl k c w r")).network
    assert (network.iterations, network.layers, network.filters) == (2, 3, 8)


@pytest.mark.parametrize(
    ("arguments", "algorithm", "rules"),
    [
        ("--network varnet", "ipalm", {}),
        ("--network modl", "adam", {}),
        ("--network modl -T ipalm", "ipalm", {}),
        (
            "--network varnet --iPALM s,L-min=1e-3,L-max=1e5,L-reduce=1.5,L-increase=3,no-momentum-reduction",
            "ipalm",
            {"smallest": 1e-3, "largest": 1e5, "reduce": 1.5, "increase": 3, "reduce_momentum": False},
        ),
        ("--network varnet -T ipalm --iPALM alpha=-1,beta=0.4", "ipalm", {"beta": 0.4}),
        (
            "--network varnet -T ipalm --iPALM alpha=0.2,beta=0.3,convex,non-trivial-step-size",
            "ipalm",
            {"alpha": 0.2, "beta": 0.3, "step": "convex"},
        ),
    ],
)
def test_the_options_of_ipalm(arguments, algorithm, rules):
    training = parse(shlex.split(f"--train {arguments} k c w r")).training
    assert training.algorithm == algorithm
    assert training.learning_rate == (1.0 if algorithm == "ipalm" else 0.001)
    assert training.ipalm == IpalmRules(**rules)


def test_the_command_trains(dataset_folder, tmp_path):
    # -T with a word that begins with s and has an h: no other option may be seen in it.
    arguments = line("{varnet} --train -n -Tsgd,e=2,export-history=h " + DATA, dataset_folder, tmp_path)
    program = [sys.executable, "-c", "from compare.cli import main; main()", "reconet"]
    files = ["weights", dataset_folder / "train" / "reference"]
    finished = subprocess.run([*program, *arguments, *files], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert finished.stderr.count("loss: ") == 2
    assert cfl.read(tmp_path / "h").shape == (2, 1, 2, 4)
    assert cfl.exists(tmp_path / "weights")
