"""The comparison at the published sizes, scaled down to a CPU: the same configuration gives the same tables."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bart_bridge.data.dataset import SPLITS, Dataset
from bart_bridge.data.fourier import centred_fft, centred_ifft
from bart_bridge.files import yaml_files
from compare.measuring import machine
from compare.results import statistics
from compare.results.images import read_images
from compare.results.table import read_results, select
from compare.settings.engine_names import is_bart
from compare.settings.experiment import apart_from_seeds, load
from compare.study import settings as study_settings
from tests.compare.conftest import bart_of, bart_tf_undrawn

pytestmark = pytest.mark.barts

ROOT = Path(__file__).resolve().parents[2]
# Sizes alone: data, training and what is measured stay those of the configuration.
NETWORKS = {
    "varnet": {"iterations": 2, "filters": 3, "kernel_x": 3, "kernel_y": 3, "basis": 5},
    "modl": {"iterations": 2, "layers": 3, "filters": 4, "max_cg_iterations": 4},
}
DATA = {"size": 32, "size_y": 36, "train": 4, "validation": 1, "test": 3, "reference_size": 8}
TABLES = {
    *("quality", "paired", "seed-scale", "paired-seeds", "weights-across", "memory", "training-time"),
    *("inference-time", "gpu-state", "energy", "published-memory", "published-time", "published-gpu-state"),
}


def scaled_down(kind, engines):
    """A published configuration for a CPU, with two updates of each stage."""
    content = yaml_files.read(ROOT / "configs" / f"published_{kind}.yaml")
    content["dataset"]["simulate"] |= DATA
    for trained in content["networks"].values():
        trained["network"] |= NETWORKS[kind]
        stages = {"epochs": 2} | ({"pretraining_epochs": 1} if kind == "modl" else {})
        trained["training"] |= {"batch_size": 2} | stages
        if "engines" in trained:
            trained["engines"] = [name for name in engines if name != "bart-1.0-lowmem"]
    return content | {"device": "cpu", "engines": engines, "baselines": ["cg-sense"], "inference_calls": 2}


@pytest.fixture(scope="module", params=["varnet", "modl"])
def finished(request, toolbox_1_0, tmp_path_factory):
    """The folder of a comparison by BART 1.0 and Keras; with `--lowmem`, BART trains from one seed only."""
    folder = tmp_path_factory.mktemp(request.param)
    engines = ["bart-1.0", "bart-1.0-lowmem", "keras-tensorflow"]
    (folder / "scaled.yaml").write_text(yaml.safe_dump(scaled_down(request.param, engines)))
    done = bart_tf_undrawn("compare", folder / "scaled.yaml", "-o", folder / "out")
    assert done.returncode == 0, done.stderr
    return request.param, folder / "out"


@pytest.fixture(scope="module")
def toolbox_1_0():
    return bart_of("bart-1.0")


def table(folder, name):
    lines = (folder / "tables" / f"{name}.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_every_table_is_there(finished):
    _, folder = finished
    made = {path.stem for path in (folder / "tables").glob("*.csv")}
    assert made >= TABLES
    results = read_results(folder)
    assert set(results.seed[results.network != ""]) == {"0", "1"}
    assert "simulated brains with lesions" in (folder / "index.html").read_text()


def test_seeds_are_the_scale_of_engines(finished):
    """As the images say, without the code that makes the table."""
    kind, folder = finished
    reference = np.abs(Dataset.open(folder / "dataset").split("test").arrays()["reference"][:, 0])

    def psnr(name, engine):
        image = np.abs(read_images(folder / "runs" / f"{name}-{engine}" / "apply-images"))
        error = np.mean((image - reference) ** 2, axis=(1, 2))
        return 10 * np.log10(reference.max(axis=(1, 2)) ** 2 / error)

    names, engines = (kind, f"{kind}-seed-1"), ("keras-tensorflow", "bart-1.0")
    values = {(name, engine): psnr(name, engine) for name in names for engine in engines}
    between_engines = max(abs(np.mean(values[name, engines[0]] - values[name, engines[1]])) for name in names)
    between_seeds = max(abs(np.mean(values[names[0], each] - values[names[1], each])) for each in engines)
    row = table(folder, "seed-scale")[0]
    assert (row["networks"], row["engines"], row["measure"]) == (", ".join(names), ", ".join(engines), "PSNR / dB")
    assert float(row["between seeds"]) == pytest.approx(between_seeds, rel=0.01)
    assert float(row["between engines"]) == pytest.approx(between_engines, rel=0.01, abs=1e-5)
    assert row["engines no further"] == "yes"


def test_engines_reconstruct_alike_with_the_same_weights(finished):
    _, folder = finished
    rows = table(folder, "weights-across")
    assert {(row["trained by"], row["reconstructed by"]) for row in rows} == {
        ("bart-1.0", "keras-tensorflow"),
        ("keras-tensorflow", "bart-1.0"),
    }
    assert len(rows) == 4
    for row in rows:
        assert 0 < float(row["image, largest / 1"]) < float(row["expected / 1"])
        assert row["within"] == "yes"


def test_an_interrupted_comparison_continues(finished):
    """As if it had been killed while it reconstructed with the weights of the other engine."""
    kind, folder = finished
    run = folder / "runs" / f"{kind}-bart-1.0"
    (run / "weights-of-keras-tensorflow.json").unlink()
    (run / "weights-of-keras-tensorflow-images.cfl").write_bytes(b"half")
    again = bart_tf_undrawn("compare", folder.parent / "scaled.yaml", "-o", folder)
    assert again.returncode == 0, again.stderr
    assert "1 step done" in again.stderr
    assert "25 done before" in again.stderr
    assert all(row["within"] == "yes" for row in table(folder, "weights-across"))


def test_costs_of_training_and_of_a_slice_are_measured(finished):
    kind, folder = finished
    rows = {(row["network"], row["engine"]): row for row in table(folder, "published-time")}
    assert len(rows) == 5
    assert (f"{kind}-seed-1", "bart-1.0-lowmem") not in rows
    for row in rows.values():
        assert float(row["ours: training / min"]) > 0
    ratios = {(row["network"], row["engine"]) for row in table(folder, "ratios-time")}
    assert ratios == {key for key in rows if key[1] != "bart-1.0"}
    results = read_results(folder)
    calls = select(results, metric="inference", network=kind, engine="keras-tensorflow", measured=True)
    assert len(calls) == 2
    energy = select(results, metric=("gpu_energy", "gpu_energy_slice"))
    if machine.gpus():
        assert energy.value.notna().all()
    else:
        assert energy.definition.str.startswith("n/a: no NVIDIA GPU").all()
    assert set(select(energy, metric="gpu_energy_slice").phase) == {"initial", "apply"}


def test_splits_share_no_image_and_noise_leaves_25_to_35_db(finished):
    """The noise is that of k-space beside the reference, combined by the coils as if all of k-space were sampled."""
    _, folder = finished
    dataset = Dataset.open(folder / "dataset")
    magnitudes = np.concatenate([np.abs(dataset.split(name).arrays()["reference"][:, 0]) for name in SPLITS])
    distances = [
        np.linalg.norm(one - other) / np.linalg.norm(one)
        for number, one in enumerate(magnitudes)
        for other in magnitudes[:number]
    ]
    assert min(distances) > 0.1
    arrays = dataset.split("test").arrays()
    coils, reference = arrays["coils"][:, 0], arrays["reference"]
    noise = arrays["kspace"] - arrays["pattern"] * centred_fft(coils * reference)
    sampled = np.broadcast_to(arrays["pattern"].real > 0, noise.shape)
    deviation = np.sqrt(np.mean(np.abs(noise[sampled]) ** 2))
    full = np.random.default_rng(0).normal(scale=deviation / np.sqrt(2), size=(2, *noise.shape))
    combined = np.sum(coils.conj() * centred_ifft(full[0] + 1j * full[1]), axis=1) + reference[:, 0]
    error = np.abs(combined) - np.abs(reference[:, 0])
    psnr = -10 * np.log10(np.mean(error**2, axis=(1, 2)))
    assert (psnr > 25).all()
    assert (psnr < 36).all()


def test_both_networks_are_trained_by_the_same_engines():
    engines = [load(ROOT / "configs" / f"published_{kind}.yaml").engines for kind in NETWORKS]
    assert engines[0] == engines[1]
    assert {"keras-jax", "keras-jax-lean", "keras-tensorflow", "keras-tensorflow-lean"} < set(engines[0])


@pytest.mark.parametrize("kind", NETWORKS)
def test_both_seeds_are_trained_by_bart_and_by_keras(kind):
    """As `seed-scale` needs it."""
    published = load(ROOT / "configs" / f"published_{kind}.yaml")
    assert apart_from_seeds(published) == [[kind, f"{kind}-seed-1"]]
    assert published.engines_of(kind) == published.engines
    assert {is_bart(engine) for engine in published.engines_of(f"{kind}-seed-1")} == {True, False}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_study_of_optimizers_is_about_the_same_training(kind):
    published = load(ROOT / "configs" / f"published_{kind}.yaml")
    study = study_settings.load(ROOT / "configs" / f"published_{kind}_optimizers.yaml")
    trained = published.networks[kind]
    assert study.dataset == published.dataset
    assert study.networks == {kind: trained.network}
    rate = {"learning_rate": trained.training.learning_rate}
    assert study.trained(trained.training.algorithm, rate) == trained.training
    assert {"sgd", "adam", "admm"} <= study.optimizers.keys()
    assert set(study.engines) < set(published.engines)
    assert study.tuned_on == "keras-jax"
    assert not any("tensorflow" in engine for engine in study.engines)


def test_the_seed_scale_by_hand():
    def rows(network, engine, values):
        base = {"network": network, "engine": engine, "phase": "apply", "metric": "psnr", "repeat": 0}
        return [base | {"slice": str(number), "value": value} for number, value in enumerate(values)]

    results = pd.DataFrame(
        [
            *rows("a", "bart", [30.0, 32.0]),
            *rows("b", "bart", [31.0, 32.0]),
            *rows("a", "keras-jax", [30.0, 32.2]),
            *rows("b", "keras-jax", [31.1, 32.4]),
        ]
    )
    scale = statistics.seed_scale(results, ["a", "b"], "keras-jax", "bart", "psnr")
    assert scale.engines == pytest.approx(0.25)
    assert scale.seeds == pytest.approx(0.65)
    assert scale.engines_rms == pytest.approx(np.sqrt((0.1**2 + 0.4**2) / 2))
    assert scale.seeds_rms == pytest.approx(np.sqrt((1.1**2 + 0.2**2) / 2))
    assert statistics.seed_scale(results, ["a"], "keras-jax", "bart", "psnr") is None
    lost = results.assign(value=results.value.where(results.network != "b"))
    assert statistics.seed_scale(lost, ["a", "b"], "keras-jax", "bart", "psnr") is None
    # A seed that one of them has not, or that diverged, leaves the others.
    more = pd.concat([results, pd.DataFrame(rows("c", "bart", [40.0, 42.0]))])
    assert statistics.seed_scale(more, ["a", "b", "c"], "keras-jax", "bart", "psnr") == scale
    more = pd.concat([more, pd.DataFrame(rows("c", "keras-jax", [40.0, np.nan]))])
    assert statistics.seed_scale(more, ["a", "b", "c"], "keras-jax", "bart", "psnr") == scale
    # A slice that one of them has not leaves the others.
    fewer = results.drop(index=results[(results.network == "b") & (results["slice"] == "1")].index[:1])
    scale = statistics.seed_scale(fewer, ["a", "b"], "keras-jax", "bart", "psnr")
    assert scale.networks == ["a", "b"]
    assert scale.engines == pytest.approx(0.1)
    assert scale.seeds == pytest.approx(1.0)
