"""The sentences of the first screen, from results tables of known content."""

import pandas as pd
import pytest

from compare.report.summary import charts
from compare.report.summary.claims import claims
from compare.report.summary.comparison import compare
from compare.report.tables import relative
from compare.results.run_states import run_states
from compare.results.table import HISTORY_COLUMNS
from compare.settings.experiment import load
from tests.compare.conftest import TINY, result_rows

BLAS = "reference BLAS 3.12.1"


@pytest.fixture
def experiment(tmp_path):
    """An experiment with VarNet and MoDL on the engines that a test gives."""
    path = tmp_path / "tiny.yaml"

    def make(*engines, networks=("varnet", "modl")):
        path.write_text(TINY)
        whole = load(path)
        kept = {name: trained for name, trained in whole.networks.items() if name in networks}
        return whole.model_copy(update={"engines": engines, "networks": kept})

    return make


def psnr(network, engine, values):
    return result_rows(network, engine, "apply", "psnr", values, column="slice")


def costs(network, engine, epoch, slice_s, peak):
    return pd.concat(
        [
            result_rows(network, engine, "train", "epoch", epoch),
            result_rows(network, engine, "infer", "inference", slice_s),
            result_rows(network, engine, "train", "peak_rss", peak),
        ]
    )


def said(experiment, *parts, blas=BLAS):
    table = pd.concat(parts, ignore_index=True).assign(device="cpu").astype({"value": float})
    table.loc[table.engine.str.startswith("bart"), "engine_blas"] = blas
    return {claim.subject: claim for claim in claims(compare(experiment, table, {}))}


BART = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0, 36.0, 37.0]


def shifted(by, noise=0.01):
    return [value + by + noise * (-1) ** number for number, value in enumerate(BART)]


def test_engines_are_set_beside_seeds_of_the_same_network(experiment):
    """Where another seed changes more than another engine, the verdict between engines says little."""
    one = experiment("bart", "keras-jax", "keras-torch")
    again = {f"{name}-again": trained.model_copy(update={"seed": 5}) for name, trained in one.networks.items()}
    both = one.model_copy(update={"networks": one.networks | again})
    differences = {
        "varnet": {"bart": 0.0, "keras-jax": 0.3, "keras-torch": 0.0},
        "varnet-again": {"bart": 0.5, "keras-jax": 0.4, "keras-torch": 0.7},
        "modl": {"bart": 0.0, "keras-jax": 0.2},
        "modl-again": {"bart": 0.05, "keras-jax": 0.2},
    }
    parts = [psnr(net, engine, shifted(by, 0.0)) for net, runs in differences.items() for engine, by in runs.items()]
    found = said(both, *parts)["Quality"]
    assert "better for varnet" in found.text
    assert found.condition == (
        "varnet, varnet-again: the mean differs by up to 0.300 dB between keras-jax and bart, by up to 0.500 dB "
        "between seeds; modl, modl-again: the mean differs by up to 0.200 dB between keras-jax and bart, by up to "
        "0.0500 dB between seeds"
    )
    assert not said(one, *parts[:3])["Quality"].condition


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (shifted(0.0), "the same"),
        (shifted(0.05), "the same"),
        (shifted(0.5), "better"),
        (shifted(-0.5), "worse"),
        (shifted(0.0, noise=1.0), "undecided"),
        (shifted(0.5, noise=1.0), "undecided"),
    ],
)
def test_quality_is_judged_by_the_interval_of_the_table(experiment, values, verdict):
    parts = [psnr("varnet", "bart", BART), psnr("varnet", "keras-jax", values)]
    found = said(experiment("bart", "keras-jax", networks=["varnet"]), *parts)["Quality"]
    row = relative.paired(pd.concat(parts)).frame.iloc[0]
    low, high = row["95 % interval"].values
    numbers = f"PSNR {row['mean difference']:+.2f} dB, 95 % interval {low:+.2f} to {high:+.2f}"
    assert found.text == f"keras-jax against bart: {verdict} ({numbers})".replace("-0.00", "+0.00")
    assert found.target == "paired"
    assert verdict.endswith(row["verdict"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_nothing_is_said_of_quality_on_few_slices(experiment, count):
    parts = [psnr("varnet", "bart", BART[:count]), psnr("varnet", "keras-jax", shifted(0.0)[:count])]
    found = said(experiment("bart", "keras-jax", networks=["varnet"]), *parts)["Quality"]
    assert found.text == "keras-jax against bart: not judged on fewer than 6 slices"


def test_psnr_that_is_not_finite_is_not_judged(experiment):
    found = said(
        experiment("bart", "keras-jax", networks=["varnet"]),
        psnr("varnet", "bart", BART),
        psnr("varnet", "keras-jax", [float("inf")] * 8),
    )
    assert "Quality" not in found


def test_one_engine_is_named_with_the_spread_of_its_repeats(experiment):
    found = said(
        experiment("bart", "keras-jax", networks=["varnet"]),
        costs("varnet", "bart", [4.0, 8.0], [0.1, 0.1], [100.0, 100.0]),
        costs("varnet", "keras-jax", [2.0, 2.0], [0.2, 0.2], [300.0, 300.0]),
    )
    assert found["Speed"].text == (
        "keras-jax is 2.83 times (2.00 to 4.00) as fast as bart in an epoch of training, "
        "and 0.500 times (0.500 to 0.500) as fast in reconstructing a slice"
    )
    assert found["Speed"].condition == f"bart is BART 1, {BLAS}"
    assert found["Memory"].text == "keras-jax takes 3.00 times (3.00 to 3.00) the memory of bart in training"


def test_memory_of_whole_processes_is_told_from_what_a_training_adds(experiment):
    """Most of a small training's process is Python and TensorFlow, which BART does without."""
    parts = [
        part
        for engine, peak, above in (("bart", [20.0, 20.0], [12.0, 12.0]), ("keras-jax", [700.0, 702.0], [132.0, 144.0]))
        for part in (
            costs("varnet", engine, [1.0, 1.0], [0.1, 0.1], peak),
            result_rows("varnet", engine, "train", "rss_above_baseline", above),
        )
    ]
    found = said(experiment("bart", "keras-jax", networks=["varnet"]), *parts)
    assert found["Memory"].text.startswith("keras-jax takes 35.0 times (35.0 to 35.1) the memory of bart")
    assert found["Memory"].condition == (
        "of the whole process; above its memory before any work, 11.5 times (11.0 to 12.0)"
    )


def test_with_one_repeat_the_noise_is_said_to_be_unknown(experiment):
    found = said(
        experiment("bart", "keras-jax", networks=["varnet"]),
        costs("varnet", "bart", [4.0], [0.1], [100.0]),
        costs("varnet", "keras-jax", [2.0], [0.2], [300.0]),
    )
    assert "2.00 times as fast as bart in an epoch" in found["Speed"].text
    assert found["Speed"].condition.endswith("one repeat, noise unknown")
    assert found["Memory"].condition == "one repeat, noise unknown"


def test_several_engines_and_networks_are_a_range_and_a_name_each(experiment):
    engines = ["bart", "keras-jax", "keras-torch", "bart-0.9"]
    parts = []
    for network in ("varnet", "modl"):
        for number, engine in enumerate(engines, start=1):
            parts.append(costs(network, engine, [12.0 / number], [0.1], [100.0 * number]))
            parts.append(psnr(network, engine, shifted(0.5 * (engine == "bart-0.9"))))
    found = said(experiment(*engines), *parts)
    speed = found["Speed"].text
    assert speed.startswith(
        "the other engines are 2.00 to 4.00 times (varnet, fastest bart-0.9) and 2.00 to 4.00 times (modl"
    )
    assert "take 2.00 to 4.00 times (varnet, least keras-jax)" in found["Memory"].text
    quality = found["Quality"].text
    assert quality.startswith("against bart: the same for varnet on keras-jax (PSNR +0.00 dB, 95 % interval")
    assert "better for varnet on bart-0.9 (+0.50 dB" in quality


def test_many_engines_of_one_verdict_are_counted(experiment):
    engines = ["bart", "keras-jax", "keras-torch", "keras-tensorflow"]
    parts = [psnr("varnet", engine, shifted(0.001 * number)) for number, engine in enumerate(engines)]
    found = said(experiment(*engines, networks=["varnet"]), *parts)
    assert found["Quality"].text == "against bart: the same for all 3 engines"
    found = said(experiment(*engines[:3], networks=["varnet"]), *parts[:3])
    assert found["Quality"].text == "against bart: the same for both engines"


def test_engines_of_a_network_are_counted_apart_from_others(experiment):
    """The second network has fewer; what it has not is neither missing nor drawn."""
    engines = ["bart", "keras-jax", "keras-torch", "keras-tensorflow"]
    whole = experiment(*engines)
    fewer = whole.networks["modl"].model_copy(update={"engines": engines[:3]})
    whole = whole.model_copy(update={"networks": whole.networks | {"modl": fewer}})
    parts = [psnr("varnet", engine, shifted(0.0)) for engine in engines]
    parts += [psnr("modl", engine, shifted(0.0)) for engine in engines[:3]]
    found = said(whole, *parts)
    assert found["Quality"].text == (
        "against bart: the same for varnet on all 3 engines and modl on both of its engines"
    )
    table = pd.concat(parts, ignore_index=True).assign(device="cpu").astype({"value": float})
    missing = run_states(whole, table, pd.DataFrame(columns=HISTORY_COLUMNS))
    assert set(missing) == {("", "cg-sense"), ("", "zero-filled")}
    drawn = charts.chart(compare(whole, table, {}))
    assert {network: [row.label for row in rows] for network, rows in drawn.groups.items()} == {
        "varnet": engines,
        "modl": engines[:3],
    }


def test_a_bart_that_failed_is_nothing_to_compare_with(experiment):
    failed = costs("varnet", "bart", [None], [None], [None]).assign(definition="n/a: the run failed, exit code 1")
    found = said(
        experiment("bart", "keras-jax", "keras-torch", networks=["varnet"]),
        failed,
        costs("varnet", "keras-jax", [4.0], [0.1], [100.0]),
        costs("varnet", "keras-torch", [2.0], [0.1], [100.0]),
    )
    assert found["Speed"].text.startswith("the other engines are 2.00 times (keras-torch) as fast as keras-jax")


def test_with_a_single_engine_nothing_is_claimed(experiment):
    assert said(experiment("bart"), costs("varnet", "bart", [4.0], [0.1], [100.0]), psnr("varnet", "bart", BART)) == {}


def test_gpu_memory_is_claimed_where_it_was_read(experiment):
    found = said(
        experiment("bart", "keras-jax", networks=["varnet"]),
        costs("varnet", "bart", [4.0], [0.1], [100.0]),
        costs("varnet", "keras-jax", [2.0], [0.2], [300.0]),
        result_rows("varnet", "bart", "train", "gpu_peak", [1000.0]),
        result_rows("varnet", "keras-jax", "train", "gpu_peak", [500.0]),
    )
    assert found["Memory"].text == "keras-jax takes 0.500 times the GPU memory of bart in training"


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_brackets_of_ratios_are_explained_where_there_are_some(experiment, repeats):
    parts = [
        costs("varnet", engine, [1.0] * repeats, [0.1] * repeats, [9.0] * repeats) for engine in ("bart", "keras-jax")
    ]
    table = pd.concat(parts, ignore_index=True).assign(device="cpu")
    drawn = charts.chart(compare(experiment("bart", "keras-jax", networks=["varnet"]), table, {}))
    assert any("in brackets the lowest and highest" in note for note in drawn.notes) == (repeats > 1)
