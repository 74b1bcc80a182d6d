"""The script that measures priors of `bart pics -R TF`, beside CG-SENSE and the networks."""

import sys

import pytest

from tools import prior_quality


@pytest.mark.slow
def test_table_has_each_network_and_its_prior(tiny, bart_with_tensorflow, monkeypatch):
    monkeypatch.setattr(prior_quality, "WEIGHTS", (0.05, 0.1))
    monkeypatch.setattr(prior_quality, "ITERATIONS", (2,))
    title, _, *rows = prior_quality.table(tiny[0], bart_with_tensorflow).splitlines()
    assert title == "| reconstruction | PSNR in dB | SSIM | NMSE |"
    names = [row.split("|")[1].strip() for row in rows]
    assert [name.split(", ")[-1] for name in names] == [
        "CG-SENSE",
        "prior of modl",
        "modl",
        "prior of varnet",
        "varnet",
    ]
    assert names[1].startswith("`pics -m -i 2 -R TF:{prior}:0.")


def test_a_bart_without_tensorflow_is_refused(toolbox, monkeypatch):
    if toolbox.build_flags.get("TENSORFLOW") == "1":
        pytest.skip("this BART is built with TensorFlow")
    monkeypatch.setattr(sys, "argv", ["prior_quality.py", "reports/demo"])
    with pytest.raises(SystemExit, match=r"error: BART .* is not built with TENSORFLOW=1"):
        prior_quality.main()
