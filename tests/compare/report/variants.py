"""Variants of a finished experiment: more engines, runs that failed, diverged or are missing. Nothing is run."""

import shutil

import pandas as pd
import yaml

from compare.results import table as results
from compare.results.table_files import is_not_available
from compare.running.records import DIVERGED

TWELVE = [
    *("bart", "keras-tensorflow", "bart-0.8", "bart-0.9", "bart-1.0", "bart-0.8-openblas", "bart-0.9-openblas"),
    *("keras-tensorflow-lean", "keras-jax", "keras-jax-lean", "keras-torch", "keras-torch-lean"),
]


def with_engines(source, folder, engines):
    """Copy an experiment, with engines whose results are those of `bart` or `keras-tensorflow`, slightly changed."""
    shutil.copytree(source, folder)
    table = read(folder)
    parts = [table[table.network == ""]]
    for number, engine in enumerate(engines):
        original = "bart" if engine.startswith("bart") else "keras-tensorflow"
        copied = table[(table.network != "") & (table.engine == original)].assign(engine=engine)
        if engine != original:
            copied.loc[copied.unit != "1", "value"] *= 1 + 0.01 * number
            copied.loc[:, "engine_version"] = f"{number}.0.00"
            for network in table.network[table.network != ""].unique():
                shutil.copytree(folder / "runs" / f"{network}-{original}", folder / "runs" / f"{network}-{engine}")
        parts.append(copied)
    write(folder, pd.concat(parts))
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"engines": list(engines)}, sort_keys=False))
    return folder


def without(folder, network, engine):
    """Take a run away, as if it had not been run yet."""
    shutil.rmtree(folder / "runs" / f"{network}-{engine}")
    table = read(folder)
    write(folder, table[(table.network != network) | (table.engine != engine)])


def failed(folder, network, engine, reason):
    """Make the training of a run one that failed, and leave nothing of what comes after it."""
    for phase in ("train", "apply"):
        (folder / "runs" / f"{network}-{engine}" / f"{phase}.json").unlink()
    table = read(folder)
    run = (table.network == network) & (table.engine == engine)
    table = table[~run | (table.phase == "train") | (table.phase == "initial")]
    train = (table.network == network) & (table.engine == engine) & (table.phase == "train")
    table.loc[train, "value"] = float("nan")
    table.loc[train, "definition"] = f"n/a: the run failed, {reason}"
    write(folder, table)


def diverged(folder, network, engine, reason):
    """The same of a training that diverged."""
    failed(folder, network, engine, reason)
    table = read(folder)
    train = table[(table.network == network) & (table.engine == engine) & (table.phase == "train")]
    row = train.iloc[:1].assign(metric=DIVERGED, value=3.0, unit="1", definition=reason)
    write(folder, pd.concat([table, row]))


def read(folder):
    return results.read_results(folder)


def write(folder, table):
    value = table.value.astype(object).mask(is_not_available(table), "n/a").mask(table.value.isna(), "n/a")
    table.assign(value=value).to_csv(folder / "results.csv", index=False)
