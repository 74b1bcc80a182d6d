"""Whatever is wrong with an ISMRMRD file: one line that names it, and nothing is left behind."""

import h5py
import numpy as np
import pytest

from tests import foreign
from tests.bart_bridge.importers.test_corrupt import h5

# A library's warning beside the one line would be a second one.
pytestmark = pytest.mark.filterwarnings("error")


def raw(change):
    """Change the heads of all lines, or the lines."""

    def damage(path):
        with h5py.File(path, "r+") as file:
            data = file["dataset/data"][()]
            change(data)
            file["dataset/data"][...] = data

    return damage


def no_image(data):
    data["head"]["flags"] = 1 << 18  # noise


def beyond(data):
    data["head"]["idx"]["kspace_encode_step_1"][5] = foreign.Y


def contrasts(data):
    data["head"]["idx"]["contrast"][5] = 1


def other_coils(data):
    data["head"]["active_channels"][5] = 3


def early_centre(data):
    data["head"]["center_sample"][5] = 3


def fewer_samples(data):
    data["head"]["number_of_samples"][5] = 60


def nan_line(data):
    values = np.array(data["data"][5])
    values[7] = np.nan
    data["data"][5] = values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (raw(no_image), "no image lines in it"),
        (raw(beyond), "must be within the 36 of its header, found 0 to 36"),
        (raw(contrasts), "it has 2 contrasts (0, 1); choose one, such as --contrast 0"),
        (raw(other_coils), "one number of coils is supported"),
        (raw(early_centre), "line 5 does not fit into the readout of 64"),
        (raw(fewer_samples), "cannot be read as ISMRMRD raw data"),
        (raw(nan_line), "found NaN or infinity in lines"),
        (h5(**{"dataset/xml": None}), "no 'dataset/xml' in it"),
        (h5(**{"dataset/data": None}), "no group with 'data' of acquisitions, such as 'dataset/data', in it"),
        (h5(**{"dataset/data": np.ones(3)}), "no group with 'data' of acquisitions, such as 'dataset/data', in it"),
    ],
)
def test_ismrmrd(refused, damage, message):
    assert message in refused("ismrmrd", damage)
