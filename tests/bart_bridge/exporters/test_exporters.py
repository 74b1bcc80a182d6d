"""What an export writes is the dataset: an import gives it back bit for bit, and others find it where it belongs."""

import h5py
import numpy as np
import pytest
from PIL import Image

from bart_bridge.data.dataset import Dataset, new_folder
from bart_bridge.errors import InputError
from bart_bridge.exporters import export
from bart_bridge.files import cfl
from bart_bridge.files.dims import (
    from_batch_coil_yx,
    from_batch_map_coil_yx,
    from_batch_map_yx,
)
from bart_bridge.importers.selection import parse_split
from tests import foreign
from tests.helper import random_complex, relative_difference

COUNTS = {"train": 3, "validation": 1, "test": 2}


def lines_pattern(y, x, generator):
    return np.repeat((generator.uniform(size=(y, 1)) < 0.5) | (np.abs(np.arange(y) - y // 2) < 3)[:, None], x, axis=1)


def points_pattern(y, x, generator):
    return generator.uniform(size=(y, x)) < 0.3


def write_dataset(
    folder, size=(36, 32), coils=4, maps=1, pattern=lines_pattern, shared=True, reference=True, counts=COUNTS
):
    """A dataset whose arrays have no symmetry and do not follow from each other."""
    y, x = size
    generator = np.random.default_rng(7)
    with new_folder(folder, {"name": folder.name}) as temporary:
        for name, count in counts.items():
            (temporary / name).mkdir()
            patterns = np.stack([pattern(y, x, generator) for _ in range(1 if shared else count)])[:, None]
            arrays = {
                "kspace": from_batch_coil_yx(
                    (random_complex(generator, count, coils, y, x) * patterns).astype(np.complex64)
                )
            }
            arrays["pattern"] = from_batch_coil_yx(patterns.astype(np.complex64))
            arrays["coils"] = from_batch_map_coil_yx(
                random_complex(generator, count, maps, coils, y, x).astype(np.complex64)
            )
            if reference:
                arrays["reference"] = from_batch_map_yx(
                    random_complex(generator, count, maps, y, x).astype(np.complex64)
                )
            for file, values in arrays.items():
                cfl.write(temporary / name / file, values)
    return folder


def import_again(exported, kind, path, folder):
    split = parse_split([argument.removeprefix("--split=") for argument in exported.arguments])
    return foreign.import_to(folder, kind, path, split)


def assert_same(folder, again, change=np.ascontiguousarray):
    """Every value is the same to the last bit; one pattern for all slices may have become one for each."""
    for name in COUNTS:
        first, second = (Dataset.open(path).split(name).arrays() for path in (folder, again))
        assert first.keys() == second.keys()
        for array, values in first.items():
            found = second[array]
            expected = np.broadcast_to(values, found.shape) if array == "pattern" else values
            assert change(found).tobytes() == change(expected).tobytes(), (name, array)


VARIANTS = {
    "lines": {},
    "lines that differ": {"shared": False},
    "points": {"pattern": points_pattern},
    "points that differ": {"pattern": points_pattern, "shared": False},
    "weighted points without a reference": {
        "pattern": lambda y, x, generator: generator.uniform(0.2, 2, size=(y, x)),
        "reference": False,
    },
    "weighted points": {"pattern": lambda y, x, generator: generator.uniform(0.2, 2, size=(y, x))},
    "odd sizes": {"size": (33, 29)},
    "odd and even": {"size": (24, 35), "coils": 3},
    "two maps": {"maps": 2},
    "no reference": {"reference": False},
    "all points": {"pattern": lambda y, x, generator: np.ones((y, x), bool)},
    "one coil": {"coils": 1},
}
LINES = {name: options for name, options in VARIANTS.items() if "points" not in name} | {
    "all points": VARIANTS["all points"]
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_fastmri_and_back(tmp_path, variant):
    folder = write_dataset(tmp_path / "data", **VARIANTS[variant])
    exported = export("fastmri", folder, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["test.h5", "train.h5", "validation.h5"]
    again = import_again(exported, "fastmri", tmp_path / "out", tmp_path / "again")
    assert_same(folder, again)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_mask_where_fastmri_has_a_place_for_it(tmp_path, variant):
    folder = write_dataset(tmp_path / "data", **VARIANTS[variant])
    exported = export("fastmri", folder, tmp_path / "out")
    has_mask = variant not in {"lines that differ", "points", "points that differ"} and "weighted" not in variant
    with h5py.File(tmp_path / "out/train.h5") as file:
        assert ("mask" in file) == has_mask
        arrays = Dataset.open(folder).split("train").arrays()
        if has_mask:
            np.testing.assert_array_equal(file["mask"], arrays["pattern"][0, 0, :, 0] == 1)
        np.testing.assert_array_equal(file["kspace"], arrays["kspace"].transpose(0, 1, 3, 2))
    # A split of one slice has one mask, whatever the others have.
    assert any("train.h5 has no mask" in note for note in exported.notes) != has_mask


def test_fastmris_image_is_that_of_the_dataset(tmp_path):
    """Normalized coils: the root sum of squares over coils is the magnitude; rows are the readout."""
    truth = foreign.make_truth()
    path, coils = foreign.write_bart(truth, tmp_path / "kspace"), foreign.write_coils(truth, tmp_path / "coils")
    folder = foreign.import_to(tmp_path / "data", "cfl", path, coils=str(coils))
    export("fastmri", folder, tmp_path / "out")
    with h5py.File(tmp_path / "out/test.h5") as file:
        images = np.abs(truth.images).transpose(0, 2, 1)
        assert relative_difference(file["reconstruction_rss"], images) < 1e-5
        assert file.attrs["max"] == pytest.approx(images.max(), rel=1e-5)
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(images), rel=1e-5)
        rss = np.sqrt(np.sum(np.abs(foreign.dft(file["kspace"][()].conj())) ** 2, axis=1))
        assert relative_difference(rss, file["reconstruction_rss"]) < 1e-5


@pytest.mark.parametrize("variant", LINES)
def test_ismrmrd_is_read_by_its_library(tmp_path, variant):
    import ismrmrd

    folder = write_dataset(tmp_path / "data", **LINES[variant])
    export("ismrmrd", folder, tmp_path / "raw.mrd")
    expected = np.concatenate([Dataset.open(folder).split(name).arrays()["kspace"] for name in COUNTS])
    found = np.zeros_like(expected)
    with ismrmrd.Dataset(tmp_path / "raw.mrd", mode="r") as data:
        encoding = ismrmrd.xsd.CreateFromDocument(data.read_xml_header()).encoding[0]
        _, coils, y, x = expected.shape
        assert (encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.y) == (x, y)
        assert encoding.encodingLimits.kspace_encoding_step_1.center == y // 2
        for number in range(data.number_of_acquisitions()):
            line = data.read_acquisition(number)
            assert (line.center_sample, line.active_channels) == (x // 2, coils)
            found[line.idx.slice, :, line.idx.kspace_encode_step_1] = line.data
        references = [Dataset.open(folder).split(name).arrays().get("reference", ()) for name in COUNTS]
        images = [image for slices in references for maps in slices for image in maps]
        for number, image in enumerate(images):
            np.testing.assert_array_equal(data.read_image("reference", number).data[0, 0], image)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("variant", LINES)
def test_ismrmrd_and_back(tmp_path, variant):
    folder = write_dataset(tmp_path / "data", **LINES[variant])
    exported = export("ismrmrd", folder, tmp_path / "raw.mrd")
    again = import_again(exported, "ismrmrd", tmp_path / "raw.mrd", tmp_path / "again")
    # Lines that were not measured are not in the file, nor are the signs of their zeros.
    assert_same(folder, again, change=lambda values: np.ascontiguousarray(values + 0))


@pytest.mark.parametrize("kind", ["fastmri", "ismrmrd"])
@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("coil_sensitivities", np.ones((6, 1, 4, 36, 31)), "'bart_tf/coil_sensitivities' must be an array of shape"),
        ("pattern", np.ones((6, 36, 31)), "'bart_tf/pattern' must be an array of shape"),
        ("pattern", None, "'bart_tf' must be a group with coil_sensitivities and pattern"),
        ("reference", np.full((6, 1, 36, 32), np.nan), "found NaN or infinity in 'bart_tf/reference'"),
        ("coil_sensitivities", np.zeros((6, 1, 4, 36, 32), "S3"), "must hold numbers"),
    ],
)
def test_damaged_arrays_of_ours(tmp_path, kind, name, values, message):
    folder = write_dataset(tmp_path / "data", counts={"test": 6})
    export(kind, folder, tmp_path / "out")
    file_name = tmp_path / "out/test.h5" if kind == "fastmri" else tmp_path / "out"
    with h5py.File(file_name, "r+") as file:
        del file[f"bart_tf/{name}"]
        if values is not None:
            file[f"bart_tf/{name}"] = values
    with pytest.raises(InputError, match=message):
        foreign.import_to(tmp_path / "again", kind, file_name)


@pytest.mark.parametrize("variant", ["points", "points that differ"])
def test_ismrmrd_has_no_place_for_points(tmp_path, variant):
    folder = write_dataset(tmp_path / "data", **VARIANTS[variant])
    with pytest.raises(InputError, match=r"train: slice 0: ISMRMRD holds whole readouts, its pattern has gaps along x"):
        export("ismrmrd", folder, tmp_path / "raw.mrd")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data"]


def test_ismrmrd_has_no_place_for_weights(tmp_path):
    folder = write_dataset(tmp_path / "data", pattern=lambda y, x, generator: np.full((y, x), 0.5))
    with pytest.raises(InputError, match="no place for the weights"):
        export("ismrmrd", folder, tmp_path / "raw.mrd")


@pytest.mark.parametrize("kind", ["fastmri", "ismrmrd", "nifti", "png"])
def test_nothing_is_overwritten_or_left_behind(tmp_path, kind):
    folder = write_dataset(tmp_path / "data", counts={"test": 1})
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="there: already exists"):
        export(kind, folder, tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"
    with pytest.raises(InputError, match="missing"):
        export(kind, tmp_path / "missing", tmp_path / "out")
    values = cfl.read(folder / "test/reference").copy()
    values.flat[-1] = np.nan
    cfl.write(folder / "test/reference", values)
    with pytest.raises(InputError, match="finite, found NaN or infinity"):
        export(kind, folder, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "there"]


def test_a_kind_that_is_none(tmp_path):
    with pytest.raises(InputError, match="KIND must be one of fastmri, ismrmrd, nifti, png, received 'dicom'"):
        export("dicom", write_dataset(tmp_path / "data"), tmp_path / "out")


# Images


def letter():
    """An F: bright at small x and small y, with no symmetry, `(y, x)`."""
    image = np.zeros((7, 5), np.complex64)
    image[1:6, 1], image[1, 1:4], image[3, 1:3] = 1, 0.5j, -0.25
    return image


@pytest.fixture
def letters(tmp_path):
    images = np.stack([letter(), 2 * letter()])[:, None]
    cfl.write(tmp_path / "images", from_batch_map_yx(images.astype(np.complex64)))
    return tmp_path / "images"


def test_png_shows_x_to_the_right_and_y_downwards(letters, tmp_path):
    exported = export("png", letters, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["images-0000.png", "images-0001.png"]
    for number, scale in enumerate((0.5, 1)):
        shown = np.asarray(Image.open(tmp_path / f"out/images-000{number}.png"))
        np.testing.assert_array_equal(shown, np.round(255 * scale * np.abs(letter())).astype(np.uint8))
    assert exported.notes == ["images: white is 2"]


def test_nifti_points_to_left_and_back(letters, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    export("nifti", letters, tmp_path / "out")
    magnitude, phase = (nibabel.load(tmp_path / f"out/images_part-{part}.nii.gz") for part in ("mag", "phase"))
    assert nibabel.aff2axcodes(magnitude.affine) == ("L", "P", "S")
    assert magnitude.header.get_zooms() == (1, 1, 1)
    images = magnitude.get_fdata() * np.exp(1j * phase.get_fdata())
    np.testing.assert_allclose(images, np.stack([letter().T, 2 * letter().T], axis=-1), atol=1e-6)
    # As a viewer of neurological convention has it: right to the right, front to the top.
    canonical = nibabel.as_closest_canonical(magnitude).get_fdata()[..., 0]
    np.testing.assert_array_equal(canonical[::-1, ::-1], np.abs(letter()).T)


def test_images_of_a_dataset(tmp_path):
    folder = write_dataset(tmp_path / "data", maps=2)
    export("png", folder, tmp_path / "png")
    assert len(list((tmp_path / "png").iterdir())) == sum(COUNTS.values())
    references = Dataset.open(folder).split("train").arrays()["reference"]
    combined = np.sqrt(np.sum(np.abs(references) ** 2, axis=1))
    shown = np.stack([np.asarray(Image.open(tmp_path / f"png/train-000{number}.png")) for number in range(3)])
    np.testing.assert_allclose(shown, combined * (255 / combined.max()), atol=0.5 + 1e-3)
    nibabel = pytest.importorskip("nibabel")
    export("nifti", folder, tmp_path / "nifti")
    volume = nibabel.load(tmp_path / "nifti/train_part-mag.nii.gz").get_fdata()
    np.testing.assert_allclose(volume, np.abs(references).transpose(3, 2, 0, 1), rtol=1e-6)


def test_sources_without_images(tmp_path):
    folder = write_dataset(tmp_path / "data", reference=False)
    with pytest.raises(InputError, match="it has no references; export the images that 'bart-tf apply' makes of it"):
        export("png", folder, tmp_path / "out")
    with pytest.raises(InputError, match="kspace: no images: dimensions other than"):
        export("png", folder / "test/kspace", tmp_path / "out")
