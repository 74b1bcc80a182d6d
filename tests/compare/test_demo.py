"""The demo shows what a newcomer is promised, whatever BART is installed."""

import itertools
from pathlib import Path

import pytest

from bart_bridge.tools import versions
from compare.results import table as results
from tests.compare.conftest import bart_tf

DEMO = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"

LARGEST_PAGE_BYTES = 3_000_000


@pytest.mark.slow
def test_the_networks_of_the_demo_are_worth_their_training(toolbox, tmp_path, record_property):
    """Mean PSNR of test slices: 6 dB above zero-filled images, 3 above the untrained network, 1 above CG-SENSE."""
    finished = bart_tf("compare", DEMO, "-o", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "index.html").stat().st_size < LARGEST_PAGE_BYTES
    table = results.read_results(tmp_path)
    record_property("seconds_of_all_steps", float(table[table.metric == "step"].value.sum()))
    has_brain = toolbox.has(versions.BRAIN_PHANTOM)
    assert set(table.dataset) == {"simulated brains" if has_brain else "simulated phantoms"}
    psnr = table[table.metric == "psnr"].groupby(["network", "engine", "phase"]).value.mean()
    gains = {}
    for network, engine in itertools.product(("varnet", "modl"), ("bart", "keras-tensorflow")):
        trained = psnr[network, engine, "apply"]
        gains[network, engine] = (
            trained - psnr["", "zero-filled", "apply"],
            trained - psnr[network, engine, "initial"],
            trained - psnr["", "cg-sense", "apply"],
        )
    for gain in gains.values():
        assert gain[0] > 6, gains
        assert gain[1] > 3, gains
        assert gain[2] > 1, gains
