from pathlib import Path

import pytest
import yaml

from bart_bridge.errors import InputError
from compare.settings.experiment import apart_from_seeds, load, load_kept

IPALM = {"network": {"kind": "varnet"}, "training": {"algorithm": "ipalm"}}


def write(tmp_path, **changes):
    content = {
        "name": "x",
        "dataset": {"simulate": {"size": 32}},
        "networks": {"vn": {"network": {"kind": "varnet"}, "training": {"epochs": 3}}},
    }
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def network(**options):
    return {"vn": {"network": {"kind": "varnet", **options}, "training": {"epochs": 3}}}


def test_defaults_are_those_of_bart(tmp_path):
    experiment = load(write(tmp_path))
    settings = experiment.networks["vn"].network
    assert (settings.iterations, settings.filters, settings.kernel_x, settings.basis) == (10, 24, 11, 31)
    assert experiment.engines == ["bart", "keras-tensorflow"]
    assert experiment.inference_calls == 20


def test_a_network_may_have_engines_of_its_own(tmp_path):
    """The order is that of the experiment."""
    plain = network()["vn"]
    networks = {"vn": plain, "vo": plain | {"seed": 1, "engines": ["keras-tensorflow", "bart"]}}
    engines = ["bart", "keras-jax-lean", "keras-tensorflow"]
    experiment = load(write(tmp_path, networks=networks, engines=engines))
    of_vo = [("vo", "bart"), ("vo", "keras-tensorflow")]
    assert experiment.runs() == [*(("vn", engine) for engine in engines), *of_vo]
    assert apart_from_seeds(experiment) == [["vn", "vo"]]
    # The experiment's own seed is 0.
    twice = load(write(tmp_path, networks=networks | {"vp": plain | {"seed": 0}}, engines=engines))
    assert apart_from_seeds(twice) == [["vn", "vo"]]
    # An unrolled derivative is refused only where the plan lean computes it.
    unrolled = network(kind="modl", cg_derivative="unrolled")["vn"] | {"engines": ["keras-tensorflow"]}
    experiment = load(write(tmp_path, networks={"vn": plain, "vo": unrolled}, engines=engines))
    assert experiment.engines_of("vo") == ["keras-tensorflow"]


def test_engines_of_a_version(tmp_path):
    """They need no binary, and may have one."""
    engines = ["bart", "bart-0.9", "bart-1.0.00", "bart-1.0-openblas"]
    experiment = load(write(tmp_path, engines=engines, bart_binaries={"bart-0.9": "own/bart"}))
    assert experiment.engines == engines
    assert experiment.bart_binaries == {"bart-0.9": tmp_path / "own/bart"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": ["bart"]}, r"engine: no such key \(did you mean 'engines'\?\)$"),
        ({"dataset": {"path": "data"}}, r"dataset\.path: no such key \(known: simulate, folder\)$"),
        ({"networks": network(filter=3)}, r"networks\.vn\.network\.filter: no such key \(did you mean 'filters'\?\)$"),
        ({"networks": network(filters="many")}, r"filters: .*valid integer.*received 'many'"),
        ({"networks": network(filters="3")}, r"filters: .*valid integer.*received '3'"),
        ({"networks": network(iterations=0)}, r"iterations: .*greater than 0.*received 0"),
        ({"networks": network(kind="unet")}, r"networks\.vn\.network: .*'unet'"),
        ({"networks": {}, "baselines": []}, "name networks, or baselines, or both"),
        ({"baselines": ["grappa"]}, r"baselines\.0: .*'grappa'"),
        ({"networks": {"a/b": network()["vn"]}}, "letters, digits"),
        ({"engines": ["bart", "bart"]}, "engines must differ"),
        (
            {"networks": {"vn": network()["vn"] | {"engines": ["keras-jax"]}}},
            r"networks\.vn\.engines: must be some of engines \(found: bart, keras-tensorflow\), received 'keras-jax'$",
        ),
        ({"networks": {"vn": network()["vn"] | {"engines": []}}}, r"networks\.vn\.engines: must have at least 1 entry"),
        (
            {"networks": {"vn": network()["vn"] | {"engines": ["bart"]}}},
            "engines: 'keras-tensorflow' trains no network, each has other engines$",
        ),
        (
            {"engines": ["keras-tensorflow-lean"], "networks": network(cg_derivative="unrolled")},
            "needs cg_derivative 'implicit', 'vn' has 'unrolled'",
        ),
        (
            {"engines": ["matlab"]},
            r"no engine 'matlab' \(found: bart, keras-.*, bart-X\.Y, bart-X\.Y-openblas, each .*-lowmem\)",
        ),
        ({"engines": ["bart-1"]}, r"engines: no engine 'bart-1' \(found: bart, "),
        ({"engines": ["bart-1.0-mkl"]}, r"engines: no engine 'bart-1\.0-mkl' \(found: bart, "),
        ({"networks": {"bart-1.0": network()["vn"]}}, "names of networks .*received 'bart-1.0'"),
        ({"bart_binaries": {"new": "/usr/bin/bart"}}, r"bart_binaries must begin with 'bart-', received 'new'"),
        ({"threads": 0}, "threads: .*received 0"),
        ({"devices": 2}, "devices: only keras-jax and keras-jax-lean .* received 2 and the engine 'bart'"),
        (
            {"devices": 3, "engines": ["keras-jax"]},
            "devices: a batch of 10 slices cannot be shared evenly by 3 devices",
        ),
        (
            {"devices": 2, "engines": ["keras-jax"], "networks": {"vn": IPALM}},
            "devices: ipalm trains on one device, received 2",
        ),
        ({"dataset": {}}, "name either 'simulate' or 'folder'"),
        ({"dataset": {"simulate": {}, "folder": "d"}}, "name either 'simulate' or 'folder'"),
        ({"name": "../x"}, "name: "),
        ({"networks": network(initial_lambda=float("nan"))}, "initial_lambda: .*finite number .*received nan"),
        ({"networks": {"vn": {"network": {"kind": "varnet"}, "training": {"learning_rate": float("inf")}}}}, "finite"),
        (
            {
                "networks": {
                    "vn": {
                        "network": {"kind": "varnet"},
                        "training": {"algorithm": "ipalm", "ipalm": {"alpha": 0.5, "beta": 0.1, "step": "nonconvex"}},
                    }
                }
            },
            "alpha must be below 0.5 for the step 'nonconvex', received 0.5",
        ),
        (
            {
                "networks": {
                    "vn": {
                        "network": {"kind": "varnet"},
                        "training": {"algorithm": "ipalm", "ipalm": {"smallest": 2.0, "largest": 1.0}},
                    }
                }
            },
            "smallest must be at most largest, received 2 and 1",
        ),
    ],
)
def test_every_fault_is_one_line_with_file_and_key(tmp_path, changes, message):
    path = write(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2", "", "\x00"])
def test_what_is_no_experiment_is_refused(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"x\.yaml"):
        load(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(no such file\)$"):
        load(tmp_path / "none.yaml")


def test_dataset_folders_are_relative_to_the_file(tmp_path):
    experiment = load(write(tmp_path, dataset={"folder": "data"}))
    assert experiment.dataset.folder == tmp_path / "data"


CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("*.yaml"))
EXPERIMENTS = [path for path in CONFIGS if "optimizers" not in path.name]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    assert load(path).name == path.stem


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"cosine_epochs": 3}, "cosine_epochs needs a final_learning_rate"),
        ({"warmup_epochs": 4}, "warmup_epochs must be at most the epochs of a stage, 3"),
        ({"algorithm": "lbfgs"}, r"algorithm: .*'adam', 'sgd', 'ipalm' or 'admm'.*received 'lbfgs'"),
        ({"adam": {"beta_1": 1.0}}, r"training\.adam\.beta_1: .*less than 1 \(received 1\.0\)"),
        ({"adam_beta_1": 1.0}, r"training\.adam\.beta_1: .*less than 1 \(received 1\.0\)"),
        ({"adam_beta_3": 1.0}, r"training\.adam_beta_3: no such key"),
        ({"admm": 2.0, "admm_rho": 1.0}, r"training\.admm: .*received 2\.0"),
        ({"adam": {"beta_1": 0.5}, "adam_beta_1": 0.5}, r"training: adam\.beta_1 and adam_beta_1 are the same setting"),
    ],
)
def test_impossible_training(tmp_path, training, message):
    networks = {"vn": {"network": {"kind": "varnet"}, "training": {"epochs": 3, **training}}}
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, networks=networks))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"repeat_epochs": 1}, "repeat_epochs: .*repeats is 1"),
        ({"bart_binaries": {"bart-new": "/usr/bin/bart"}}, r"bart_binaries\.bart-new: engines does not name it"),
        ({"engines": ["bart-0.9", "bart-0.9.00"]}, "engines: 'bart-0.9' and 'bart-0.9.00' are one BART, name it once"),
        ({"engines": ["bart-0.9.0", "bart-0.9.00"]}, "engines: 'bart-0.9.0' and 'bart-0.9.00' are one BART"),
        (
            {"engines": ["bart-1.0-openblas-lowmem", "keras-jax", "bart-1.0.00-openblas-lowmem"]},
            "'bart-1.0-openblas-lowmem' and 'bart-1.0.00-openblas-lowmem' are one BART",
        ),
        (
            {"engines": ["bart-a", "bart-b"], "bart_binaries": {"bart-a": "new/bart", "bart-b": "./new/bart"}},
            "'bart-a' and 'bart-b' are one BART",
        ),
        ({"dataset": {"simulate": {"pattern": "radial", "acceleration": 3}}}, "acceleration: .*not Cartesian"),
        ({"dataset": {"simulate": {"spokes": 12}}}, "spokes: .*is Cartesian"),
        ({"networks": network(fixed_lambda=0.1, initial_lambda=0.3)}, "initial_lambda: lambda is not trained"),
        ({"networks": network(fixed_lambda=-1)}, "fixed_lambda: must not be negative, received -1"),
        ({"networks": network(initial_lambda=-1)}, "initial_lambda: must not be negative, received -1"),
        (
            {"networks": network(sense_initialization={"fixed_lambda": -1})},
            r"sense_initialization\.fixed_lambda: must not be negative",
        ),
        ({"networks": network(max_cg_iterations=3)}, "max_cg_iterations: gradient steps need no conjugate gradients"),
        ({"networks": network(cg_derivative="unrolled")}, "cg_derivative: gradient steps need no conjugate gradients"),
        *(
            ({"networks": {"vn": network()["vn"] | {"training": training}}}, message)
            for training, message in (
                ({"admm": {"rho": 2}}, r"training\.admm\.rho: only for the algorithm admm, here it is adam"),
                ({"admm_rho": 2}, r"training\.admm\.rho: only for the algorithm admm, here it is adam"),
                ({"algorithm": "sgd", "adam_beta_1": 0.5}, r"training\.adam\.beta_1: only for the algorithm adam"),
                ({"ipalm": {"reduce": 1.5}}, r"training\.ipalm\.reduce: only for the algorithm ipalm"),
                # Also defaults, where only a person can have written them.
                (
                    {"algorithm": "sgd", "adam": {"beta_1": 0.9}},
                    r"training\.adam: only for the algorithm adam, here it",
                ),
                ({"algorithm": "sgd", "adam": {}}, r"training\.adam: only for the algorithm adam"),
                ({"ipalm": {}}, r"training\.ipalm: only for the algorithm ipalm"),
                ({"admm_rho": 1.0}, r"training\.admm: only for the algorithm admm"),
                ({"batch_norm_momentum": 0.5}, "batch_norm_momentum: this network has no batch norm"),
                ({"loss": {}}, "loss: losses need positive weights, received"),
                ({"loss": {"mse": -1, "ssim": 1}}, "loss: losses need positive weights, received"),
            )
        ),
    ],
)
def test_what_does_nothing_or_contradicts_is_refused_where_a_user_wrote_it(changes, message, tmp_path):
    path = write(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load(path)
    assert load_kept(path).name == "x"


def faulty(training=None, simulate=None, **changes):
    """An experiment with a fault in the training of its network, in its simulation, or beside them."""
    networks = {"vn": {"network": {"kind": "varnet"}, "training": {"epochs": 3, **(training or {})}}}
    return {"networks": networks, "dataset": {"simulate": {"size": 32, **(simulate or {})}}, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (faulty(engines="bart"), "engines: must be a list (received 'bart')"),
        (faulty(engines=[]), "engines: must have at least 1 entry (received [])"),
        (faulty(name="my study"), "name: must match the pattern ^[A-Za-z0-9_-]+$ (received 'my study')"),
        (faulty(device="cuda"), "device: must be 'cpu' or 'gpu' (received 'cuda')"),
        (faulty(validate_epochs="on"), "validate_epochs: must be true or false (received 'on')"),
        (faulty(repeats=0), "repeats: must be greater than or equal to 1 (received 0)"),
        (faulty(threads="4"), "threads: must be a valid integer without quotes (received '4')"),
        (faulty(slurm={"cpu": 3}), "slurm.cpu: no such key (did you mean 'cpus'?)"),
        (
            faulty(simulate={"pattern": "radal"}),
            "dataset.simulate.pattern: must be 'random' or 'regular' or 'radial', 'golden-angle' or 'spiral' "
            "(received 'radal')",
        ),
        (
            faulty({"learning_rate": "1e-3"}),
            "networks.vn.training.learning_rate: must be a valid number: write 1.0e-3, YAML needs the dot and the sign "
            "(received '1e-3')",
        ),
        (
            faulty({"loss": "mae"}),
            "networks.vn.training.loss: must be 'mse', 'mad', 'nmse', 'mse-magnitude', 'mad-magnitude', "
            "'nmse-magnitude' or 'ssim' (received 'mae')",
        ),
        (faulty({"loss": {"mse": "x"}}), "networks.vn.training.loss.mse: must be a valid number (received 'x')"),
        (
            faulty({"epoch": 3, "adam": {"beta1": 0.5}}),
            "networks.vn.training.adam.beta1: no such key (did you mean 'beta_1'?); and 1 more",
        ),
    ],
)
def test_typical_typos_are_told_in_words_of_the_file(content, message, tmp_path):
    path = write(tmp_path, **content)
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value) == f"{path}: {message}"


def test_different_barts_are_no_names_of_one(tmp_path):
    engines = ["bart", "bart-lowmem", "bart-0.9", "bart-0.9-lowmem", "bart-0.9-openblas", "bart-0.8", "bart-own"]
    experiment = load(write(tmp_path, engines=engines, bart_binaries={"bart-own": "own", "bart-0.9": "nine"}))
    assert experiment.engines == engines


def test_an_experiment_as_its_folder_keeps_it_can_be_read_as_that_of_a_user(tmp_path):
    """It has all keys of all algorithms."""
    experiment = load(write(tmp_path, networks={"vn": network()["vn"] | {"training": {"algorithm": "sgd"}}}))
    path = tmp_path / "kept.yaml"
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    assert load(path) == experiment


@pytest.mark.parametrize("twice", ["seed: 1\nseed: 2\n", "slurm: {cpus: 1, cpus: 2}\n"])
def test_a_key_that_stands_twice_is_refused(twice, tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text() + twice)
    with pytest.raises(InputError, match=r"the key '(seed|cpus)' appears twice in the block at line \d+"):
        load(path)


def test_an_alias_inside_of_its_own_anchor_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("training: &a {adam: *a}\n")
    with pytest.raises(InputError, match=r"x\.yaml: cannot be read \(Circular reference"):
        load(path)


def test_rules_of_the_whole_file_are_told_in_our_words(tmp_path):
    path = write(tmp_path, engines=["bart", "bart"])
    with pytest.raises(InputError) as error:
        load(path)
    assert str(error.value) == f"{path}: engines must differ, received bart, bart"
