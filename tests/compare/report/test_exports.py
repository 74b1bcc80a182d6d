"""The files for a paper say what their numbers are and are made again from the results alone."""

import re
import shutil

import pandas as pd
import pytest

from compare.report import exports
from compare.report.tables.table import Table
from compare.results import table as results
from compare.settings.experiment import load

SUFFIXES = ("csv", "md", "tex")


def test_every_table_is_there_in_three_forms(tiny):
    files = {path.name for path in (tiny[0] / "tables").iterdir()} - {exports.LIST}
    slugs = {name.rpartition(".")[0] for name in files}
    assert files == {f"{slug}.{suffix}" for slug in slugs for suffix in SUFFIXES}
    expected = {
        "ratios-time",
        "ratios-memory",
        "quality",
        "quality-bart",
        "quality-fastmri",
        "paired",
        "memory",
        "training-time",
    }
    expected |= {"inference-time", "gpu-state", "measure-check", "agreement"}
    expected |= {"published-memory", "published-time", "published-quality"}
    # The CUDA tables of a trace come from elsewhere.
    assert expected <= slugs


def test_every_table_has_units_definitions_and_reasons(tiny):
    """A number stands in a column with a unit, or in a row whose quantity has one; n/a is explained."""
    words = {"repeats", "slices", "images", "figure", "count", "mean difference", "95 % interval", "A", "B"}
    words |= {"largest difference", "ours: mean (range)", "published: mean (range)"}
    for path in (tiny[0] / "tables").glob("*.csv"):
        text = path.read_text()
        notes = [line for line in text.splitlines() if line.startswith("#")]
        assert len(notes) >= 2, path.name
        frame = pd.read_csv(path, comment="#", keep_default_na=False, dtype=str)
        for column in frame.columns:
            if frame[column].str.fullmatch(r"[-+]?[\d.]+(e[-+]\d+)?( ± [\d.]+)?|n/a").any():
                assert " / " in column or column in words, (path.name, column)
        if (frame == "n/a").any().any():
            assert any("n/a" in note for note in notes), path.name


def test_every_figure_is_there_in_two_forms(tiny):
    files = {path.name for path in (tiny[0] / "figures").iterdir()} - {exports.LIST}
    slugs = {name.rpartition(".")[0] for name in files}
    assert files == {f"{slug}.{suffix}" for slug in slugs for suffix in ("png", "pdf")}
    for network in ("varnet", "modl"):
        kinds = {"slice-0", "loss", "psnr", "violins", "bland-altman-keras-tensorflow", "memory-train", "memory-infer"}
        assert {f"{network}-{kind}" for kind in kinds} <= slugs


def test_parquet_and_csv_are_the_same_table(tiny):
    table = results.read_results(tiny[0])
    parquet = pd.read_parquet(tiny[0] / "results.parquet")
    assert tuple(parquet.columns) == results.COLUMNS
    pd.testing.assert_series_equal(parquet.value, table.value)
    assert parquet.definition.tolist() == table.definition.tolist()
    assert parquet.value.isna().sum() == (pd.read_csv(tiny[0] / "results.csv", na_filter=False).value == "n/a").sum()


def test_all_tables_are_made_again_from_the_results_table_alone(tiny, tmp_path):
    for name in ("experiment.yaml", "results.csv"):
        shutil.copy(tiny[0] / name, tmp_path)
    exports.write(load(tmp_path / "experiment.yaml"), tmp_path, images={})
    for path in (tiny[0] / "tables").iterdir():
        assert (tmp_path / "tables" / path.name).read_bytes() == path.read_bytes(), path.name
    assert (tmp_path / "figures" / "modl-violins.pdf").stat().st_size > 1000
    assert not (tmp_path / "figures" / "modl-slice-0.png").exists()


def test_of_an_older_report_nothing_stays_and_nothing_else_is_removed(tmp_path):
    """Somebody keeps files of the same kinds beside those of the report."""
    kept = {"mine.csv", "notes.md", "paper.tex", "photo.png", "poster.pdf", ".gitignore"}
    for name in kept:
        (tmp_path / name).write_text("somebody's own")
    exports.write_tables([Table("old", "Old", "", pd.DataFrame({"a / s": ["1"]}))], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"old.csv", "old.md", "old.tex", exports.LIST}
    exports.write_tables([], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {exports.LIST}
    exports.write_figures([], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {exports.LIST}


def test_latex_is_booktabs_and_escaped():
    frame = pd.DataFrame({"a_b / %": ["1.0 ± 0.1", "n/a"], "name": ["x & y", "50 %"]})
    text = exports.latex(Table("slug", "Title of 5 % & more", "a_b: 100 % of {x}^2 < 3", frame))
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Title of 5 \% \& more}", r"\label{tab:slug}"):
        assert rule in text
    assert r"1.0 $\pm$ 0.1 & x \& y \\" in text
    assert r"a\_b: 100 \% of \{x\}\^{}2 \textless{} 3" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert not re.search(r"(?<!\\)%", text)


def test_our_measures_are_those_of_bart_to_1e_4(tiny):
    check = pd.read_csv(tiny[0] / "tables" / "measure-check.csv", comment="#")
    assert len(check) == 3
    assert (check["largest difference"] < 1e-4).all()
    assert (check.images == 10 * 2).all()


@pytest.mark.parametrize("metric", ["psnr", "psnr_bart", "psnr_fastmri", "ssim_bart", "nmse_fastmri"])
def test_each_definition_has_its_own_name(tiny, metric):
    table = results.read_results(tiny[0])
    assert table[table.metric == metric].definition.nunique() == 1
    of_others = set(table[table.metric != metric].definition)
    assert not set(table[table.metric == metric].definition) & of_others
