"""The initial weights of `bart reconet`, drawn here and by each version of BART."""

import shlex
from itertools import product

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import bart_random, weights
from bart_bridge.reconet.command_line import parse_network
from bart_bridge.tools import process, versions

NETWORKS = [
    "--network=varnet -I3 --varnet-block=F=7,X=5,Y=3,W=6",
    "--network=varnet -I2 --varnet-block=F=2,X=3,Y=5,W=31 --shared-weights --data-consistency=proximal-mapping",
    "--network=modl -I2 --resnet-block=F=5,L=5 --no-shared-weights --no-shared-lambda --normalize",
    "--network=modl -I2 --resnet-block=F=3,L=4,X=5,no-batch-normalization,no-bias --initial-reco=sense,lambda-init=0.3",
]


@pytest.mark.parametrize("compatibility", ["", "v0.9.00"])
@pytest.mark.parametrize("options", NETWORKS, ids=["varnet", "varnet shared", "modl", "modl plain"])
def test_bart_starts_from_these_weights(options, compatibility, each_toolbox, dataset_folder, tmp_path):
    network, _ = parse_network(shlex.split(options))
    slices = Dataset.open(dataset_folder).split("train")
    # BART writes the weights before every epoch, too: `w_0` before the first.
    words = ["--train", *shlex.split(options), "-b2", "-Te=1,dump-mod=1", f"--pattern={slices.pattern}"]
    argv = each_toolbox.argv("reconet", *words, slices.kspace, slices.coils, tmp_path / "w", slices.reference)
    process.run(argv, folder=tmp_path, environment={versions.COMPATIBILITY: compatibility} if compatibility else None)
    version = versions.asked_for(each_toolbox.version, compatibility)
    expected, found = weights.read(tmp_path / "w_0", network), bart_random.initial(network, version)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name, strict=True)


@pytest.mark.parametrize(
    ("word", "expected"),
    [(0, (0x6627E8D5E169C58D, 0xBC57AC4C9B00DBD8)), (2**64 - 1, (0x408F276D41C83B0E, 0xA20BC7C66D5451FD))],
)
def test_known_answers_of_philox(word, expected):
    """From the Random123 library of the authors, `tests/kat_vectors`, philox4x32 10."""
    assert bart_random.philox(word, word, word) == expected


def test_the_generators_are_gaussian():
    for generator, _ in product((bart_random.RandR(), bart_random.Philox()), range(2)):
        numbers = generator.normal(20000)
        assert np.mean(np.abs(numbers) ** 2) == pytest.approx(2, rel=0.03)
        assert abs(np.mean(numbers)) < 0.03
        assert abs(np.mean(numbers**2)) < 0.05
