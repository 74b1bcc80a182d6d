"""Reading what a training reports: lines of progress, and the history file."""

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.reconet.history import Progress, parse_progress, read_history
from bart_bridge.reconet.network_settings import VarNetSettings

VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=5, basis=4)


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        (
            "#2->1/4; [=         ]; time: 0:00:00/0:00:00; loss: 1.320911e-02; l0: 2.030e-01; l1: 2.029e-01;\x1b[2K",
            Progress(2, 1, 4, 1.320911e-02),
        ),
        ("#10->24/24; [====]; time: 0:01:09/0:01:09; loss: 5.4e+01;\x1b[2K", Progress(10, 24, 24, 54.0)),
        ("\x1b[2K", None),
        ("", None),
        ("lambda         [  2 ]", None),
        ("munmap_chunk(): invalid pointer", None),
        ("#2->1/4; [=         ]; time: 0:00:00/0:00:00;", None),
    ],
)
def test_parse_progress(line, progress):
    assert parse_progress(line) == progress


def test_parse_progress_of_a_diverged_training():
    progress = parse_progress("#1->1/1; [=]; time: 0:00:00/0:00:00; loss: -nan; l0: -nan;")
    assert np.isnan(progress.loss)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            VARNET.model_copy(update={"iterations": 3}),
            r"5 columns expected \(seconds, loss, lambda_0, lambda_1, lambda_2\), found 4",
        ),
        (VARNET.model_copy(update={"fixed_lambda": 0.1}), r"2 columns expected \(seconds, loss\), found 4"),
    ],
)
def test_history_of_another_network_is_refused(tmp_path, network, message):
    cfl.write(tmp_path / "history", np.ones((3, 2, 2, 4)))
    with pytest.raises(InputError, match=f"history: {message}"):
        read_history(tmp_path / "history", network)


def test_missing_history_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"history\.hdr: no such file"):
        read_history(tmp_path / "history", VARNET)
