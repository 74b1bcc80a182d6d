"""`bart-tf diff`: verdicts on known numbers, and what it says of real experiments."""

import pandas as pd
import pytest
import yaml

from compare.report.tables.difference import changes, read_settings, same_data, settings, verdict
from compare.results import table as results
from tests.compare.conftest import TINY, bart_tf_in_process, drawing_nothing, result_rows

PSNR = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0]
QUIET, NOISY = [1.0, 1.01, 0.99], [1.0, 1.4, 0.7]


def table(version="1", slower=1.0, more_noisy=1.0, peak=100.0, better=0.0, zero_filled=25.0):
    """Results of an experiment, worse or better than another."""
    reference = [pd.Series(PSNR) - 30 + zero_filled, [0.4] * 7, [0.1] * 7]
    return pd.concat(
        [
            *(
                result_rows("", "zero-filled", "apply", metric, values, "slice")
                for metric, values in zip(("psnr", "ssim", "nmse"), reference, strict=True)
            ),
            result_rows("modl", "bart", "train", "epoch", [slower * value for value in QUIET], version=version),
            result_rows("modl", "bart", "train", "setup", [more_noisy * value for value in NOISY], version=version),
            result_rows("modl", "bart", "train", "peak_rss", [peak], version=version),
            result_rows("modl", "bart", "apply", "psnr", [value + better for value in PSNR], "slice", version=version),
            result_rows("modl", "bart", "apply", "ssim", [0.5] * 7, "slice", version=version),
        ]
    )


def verdicts(first, second):
    frame = changes(first, second).frame
    frame = frame[frame.network == "modl"]
    return dict(zip(frame["metric / unit"], frame.verdict, strict=True))


def test_what_changed_and_what_is_noise():
    first, second = table(), table("2", slower=1.5, more_noisy=1.1, peak=150.0, better=0.3)
    assert verdicts(first, second) == {
        "psnr / 1": "changed",
        "ssim / 1": "within noise",
        "epoch / 1": "changed",
        "setup / 1": "within noise",
        "peak_rss / 1": "changed?",
    }
    assert verdict(1.0, 1.0005, 0.0, known=True) == "within noise"


def test_slices_of_other_data_are_not_paired():
    first, second = table(), table(better=0.3, zero_filled=25.1)
    assert same_data(first, table(better=0.3))
    assert not same_data(first, second)
    assert not same_data(first, second[second.engine != "zero-filled"])
    found = changes(first, second)
    of_psnr = found.frame[found.frame["metric / unit"] == "psnr / 1"]
    assert set(of_psnr["p / 1"]) == {None}
    assert set(of_psnr.verdict) == {"changed?"}
    assert "the data are not the same" in found.caption


def test_settings_that_only_one_has_and_versions_are_named():
    asked = {"name": "a", "seed": "0"}, {"name": "b", "seed": "0", "devices": "1"}
    found = settings(table(), table("2"), asked)
    assert found.rows == [["name", "a", "b"], ["devices", "none", "1"], ["version of bart", "1", "2"]]
    assert found.caption.startswith("3 of 6:")


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Experiments without networks, on the data of the tiny one and on others: their folders."""
    folders = []
    for acceleration in (4.0, 3.0):
        content = yaml.safe_load(TINY) | {"networks": {}, "name": "baselines", "description": "Another word."}
        content["dataset"]["simulate"]["acceleration"] = acceleration
        config = tmp_path_factory.mktemp("other") / "config.yaml"
        config.write_text(yaml.safe_dump(content))
        with drawing_nothing():
            finished = bart_tf_in_process("compare", config, "-o", config.parent / "out")
        assert finished.returncode == 0, finished.stderr
        folders.append(config.parent / "out")
    return folders


def test_experiments_with_other_networks_on_the_same_data(tiny, others):
    finished = bart_tf_in_process("diff", tiny[0], others[0])
    assert finished.returncode == 0, finished.stderr
    for setting in ("networks.modl.training.epochs | 2 | none", "networks.varnet.network.filters | 3 | none"):
        assert setting in " ".join(finished.stdout.split())
    assert "description" not in finished.stdout.replace("but description and slurm", "")
    assert "dataset.simulate" not in finished.stdout
    assert "the data are the same" in finished.stdout
    assert same_data(*(results.read_results(folder) for folder in (tiny[0], others[0])))


def test_experiments_on_other_data(others):
    finished = bart_tf_in_process("diff", *others)
    assert finished.returncode == 0, finished.stderr
    first, second = (read_settings(folder) for folder in others)
    assert {key for key in first if first[key] != second[key]} == {"dataset.simulate.acceleration"}
    assert "dataset.simulate.acceleration | 4.0 | 3.0" in " ".join(finished.stdout.split())
    assert "the data are not the same" in finished.stdout


@pytest.mark.parametrize(
    ("content", "rule"), [(None, "cannot be read"), (":\n-", "cannot be read"), ("[]", "must have")]
)
def test_settings_that_cannot_be_read(content, rule, others, tmp_path):
    (tmp_path / "results.csv").write_bytes((others[0] / "results.csv").read_bytes())
    if content is not None:
        (tmp_path / "experiment.yaml").write_text(content)
    finished = bart_tf_in_process("diff", others[0], tmp_path)
    assert finished.returncode == 2
    assert f"{tmp_path / 'experiment.yaml'}: {rule}" in finished.stderr.replace("\n", " ")


def test_a_study_is_no_experiment(tmp_path):
    (tmp_path / "study.yaml").touch()
    finished = bart_tf_in_process("diff", tmp_path, tmp_path)
    assert finished.returncode == 2
    assert f"{tmp_path}: is an optimizer study, diff compares experiments" in finished.stderr
