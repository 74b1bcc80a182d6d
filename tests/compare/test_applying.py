import numpy as np
import pandas as pd
import pytest
import yaml

from bart_bridge.files import cfl
from compare.measuring import quality
from tests.compare.conftest import bart_tf, bart_tf_in_process


@pytest.fixture(scope="module")
def runs(tiny):
    return sorted((tiny[0] / "runs").iterdir())


def test_real_brain_with_the_weights_of_both_engines(shared, runs, tmp_path):
    """Measured k-space, retrospectively undersampled 4-fold."""
    data = shared / "data" / "real" / "brain_t1_8ch"
    files = ["--kspace", data / "kspace", "--coils", data / "sens", "--reference", data / "ref"]
    finished = bart_tf("apply", *runs, *files, "--acceleration", 4, "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert np.abs(cfl.read(tmp_path / "out" / "pattern")).mean() == pytest.approx(0.25, abs=1e-4)
    table = pd.read_csv(tmp_path / "out" / "quality.csv", keep_default_na=False)
    assert set(table.engine) == {"zero-filled", "bart", "keras-tensorflow"}
    psnr = table[table.metric == "psnr"].set_index(["network", "engine"]).value
    for run in runs:
        image = cfl.read(tmp_path / "out" / run.name).squeeze()
        found = quality.measures(image, cfl.read(data / "ref").squeeze())
        network, _, engine = run.name.partition("-")
        assert found["psnr"] == pytest.approx(psnr[network, engine], abs=1e-3)
    assert (tmp_path / "out" / "images.png").read_bytes().startswith(b"\x89PNG")
    assert "| modl | bart |" in finished.stdout


@pytest.mark.slow
def test_a_dataset_gives_the_images_of_the_comparison(tiny, runs, tmp_path):
    dataset = tiny[0] / "dataset"
    finished = bart_tf("apply", *runs, "--dataset", dataset, "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    for run in runs:
        np.testing.assert_allclose(cfl.read(tmp_path / "out" / run.name), cfl.read(run / "apply-images"), atol=1e-5)


def test_without_a_reference_there_are_images_and_no_table(tiny, runs, tmp_path):
    split = tiny[0] / "dataset" / "test"
    files = ["--kspace", split / "kspace", "--coils", split / "coils", "--pattern", split / "pattern"]
    finished = bart_tf_in_process("apply", runs[0], *files, "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    assert cfl.exists(tmp_path / "out" / runs[0].name)
    assert not (tmp_path / "out" / "quality.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kspace", "x"], "name either --dataset, or --kspace and --coils"),
        (["--kspace", "x", "--coils", "y", "--pattern", "p", "--acceleration", "4"], "--pattern or --acceleration"),
        (["--dataset", "/nowhere"], "/nowhere: not a dataset folder"),
    ],
)
def test_wrong_options(runs, tmp_path, arguments, message):
    finished = bart_tf_in_process("apply", runs[0], *arguments, "-o", tmp_path / "out")
    assert finished.returncode == 2
    assert message in finished.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"engine": 5}, "engine must be bart, keras-tensorflow, "),
        ({"engine": "keras-foo"}, "found 'keras-foo'"),
        ({"device": "toaster"}, "device must be cpu or gpu, found 'toaster'"),
    ],
)
def test_a_run_with_other_settings_than_there_are(changed, message, dataset_folder, tmp_path):
    settings = {"engine": "bart", "device": "cpu", "network": {"kind": "modl"}} | changed
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))
    finished = bart_tf_in_process("apply", tmp_path, "--dataset", dataset_folder, "-o", tmp_path / "out")
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"error: {tmp_path / 'run.yaml'}: ")
    assert message in finished.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_no_run(tiny, tmp_path):
    finished = bart_tf_in_process("apply", tmp_path, "--dataset", tiny[0] / "dataset", "-o", tmp_path / "out")
    assert finished.returncode == 2
    assert f"{tmp_path}: not the folder of a trained run" in finished.stderr
