"""Trainings that BART, or loss scaling, cannot do are refused with the reason."""

from dataclasses import replace

import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.reconet import commands
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training

SETTINGS = {"varnet": VarNetSettings(), "modl": ModlSettings()}


def test_what_bart_cannot_train_is_refused_with_the_reason(dataset_folder, toolbox, tmp_path):
    split = Dataset.open(dataset_folder).split("train")

    def argv(kind, version, **training):
        box = replace(toolbox, version=version)
        files = commands.TrainingFiles(split, tmp_path / "w", tmp_path / "i", tmp_path / "h")
        return commands.train_argv(box, SETTINGS[kind], Training(**training), 1, files)

    with pytest.raises(InputError, match="reconet has no ADMM"):
        argv("varnet", (1, 0, 0), algorithm="admm")
    with pytest.raises(
        InputError, match=r"0\.8\.00 has iPALM only as the default of VarNet; for modl '-T ipalm' runs Adam"
    ):
        argv("modl", (0, 8, 0), algorithm="ipalm")
    with pytest.raises(InputError, match=r"0\.8\.00 ignores the sub-options of --iPALM"):
        argv("varnet", (0, 8, 0), algorithm="ipalm", ipalm={"reduce": 1.5})
    assert "--iPALM=" not in " ".join(argv("varnet", (0, 8, 0), algorithm="ipalm"))
    falling = {"algorithm": "sgd", "final_learning_rate": 1e-5, "warmup_epochs": 1}
    assert "epochs-warmup=1" in " ".join(argv("varnet", (0, 9, 0), **falling))
    with pytest.raises(InputError, match=r"BART 1\.0\.00 repeats the first epochs of a falling learning rate"):
        argv("varnet", (1, 0, 0), **falling)
    newer = " ".join(argv("modl", (1, 0, 0), algorithm="ipalm", ipalm={"reduce": 1.5}))
    assert "-Tipalm,learning-rate=1," in newer
    assert "--iPALM=L-min=1e-10,L-max=1e+10,L-reduce=1.5,L-increase=2" in newer


def test_ipalm_refuses_scaled_losses():
    with pytest.raises(ValueError, match="ipalm compares losses, which mixed_float16 scales"):
        Training(algorithm="ipalm", precision="mixed_float16")
