#!/usr/bin/env python3
"""Measure `bart pics` with a network's regularizer as prior, beside CG-SENSE and the network itself.

    python3 tools/prior_quality.py EXPERIMENT

EXPERIMENT is the folder of a finished `bart-tf compare`, such as `reports/demo`, with networks that keras-tensorflow
has trained. BART must be built with TensorFlow; it is found as always, by BART_TOOLBOX_PATH. The validation slices
choose the weight of the prior and the number of ADMM iterations. The table has means over the test slices, which
neither the training nor this choice has seen.
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from bart_bridge.baselines import pics  # noqa: E402
from bart_bridge.data.dataset import Dataset, Split  # noqa: E402
from bart_bridge.errors import InputError, ToolError  # noqa: E402
from bart_bridge.files import cfl  # noqa: E402
from bart_bridge.files.dims import to_batch_map_yx  # noqa: E402
from bart_bridge.tools.toolbox import Argument, Toolbox  # noqa: E402
from compare.measuring import quality  # noqa: E402
from tf_models.backend.quiet import import_backend  # noqa: E402

ENGINE = "keras-tensorflow"
WEIGHTS = (0.025, 0.05, 0.1, 0.2)
ITERATIONS = (20, 30, 40)
MEASURES = ("psnr", "ssim", "nmse")


def mean_quality(images: NDArray[np.complex64], split: Split) -> dict[str, float]:
    """Return the mean of each measure over the slices of images `(batch, map, y, x)`."""
    references = quality.combine_maps(split.arrays()["reference"])
    slices = [quality.measures(*pair) for pair in zip(quality.combine_maps(images), references, strict=True)]
    return {name: float(np.mean([measured[name] for measured in slices])) for name in MEASURES}


def options(prior: Path, weight: float, iterations: int) -> list[Argument]:
    """Return the options of `pics` for ADMM with a prior."""
    return ["-m", "-i", iterations, "-R", f"TF:{{{prior}}}:{weight:g}"]


def reconstruct(model: Path, dataset: Dataset, toolbox: Toolbox) -> tuple[str, NDArray[np.complex64]]:
    """Export a network's prior, choose its options on the validation slices, and reconstruct the test slices.

    Returns:
        The chosen options, and the images.
    """
    from tf_models.files import bart_savedmodel, model_files, operators

    network = model_files.load(model)
    validation = dataset.split("validation")
    size_y, size_x = validation.arrays()["coils"].shape[-2:]
    with tempfile.TemporaryDirectory() as name:
        prior = Path(name) / "prior"
        bart_savedmodel.export(operators.prior(network, size_y, size_x, network.network.iterations - 1), prior)
        candidates = [(weight, iterations) for weight in WEIGHTS for iterations in ITERATIONS]
        psnr = [
            mean_quality(pics(validation, toolbox, options(prior, *candidate)), validation)["psnr"]
            for candidate in candidates
        ]
        weight, iterations = candidates[int(np.argmax(psnr))]
        images = pics(dataset.split("test"), toolbox, options(prior, weight, iterations))
    return f"-m -i {iterations} -R TF:{{prior}}:{weight:g}", images


def table(experiment: Path, toolbox: Toolbox) -> str:
    """Return the table as Markdown."""
    dataset = Dataset.open(experiment / "dataset")
    test = dataset.split("test")
    rows = [("CG-SENSE", to_batch_map_yx(cfl.read(experiment / "references" / "cg-sense")))]
    for run in sorted((experiment / "runs").glob(f"*-{ENGINE}")):
        name = run.name.removesuffix(f"-{ENGINE}")
        chosen, images = reconstruct(run / "weights.keras", dataset, toolbox)
        rows.append((f"`pics {chosen}`, prior of {name}", images))
        rows.append((name, to_batch_map_yx(cfl.read(run / "apply-images"))))
    lines = ["| reconstruction | PSNR in dB | SSIM | NMSE |", "|---|---|---|---|"]
    for label, images in rows:
        measured = mean_quality(images, test)
        lines.append(f"| {label} | {measured['psnr']:.2f} | {measured['ssim']:.4f} | {measured['nmse']:.4f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    import_backend()
    toolbox = Toolbox.find()
    if toolbox.build_flags.get("TENSORFLOW") != "1":
        sys.exit(f"error: BART {toolbox.version_text} at {toolbox.path} is not built with TENSORFLOW=1")
    try:
        print(table(Path(sys.argv[1]), toolbox))
    except (InputError, ToolError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
