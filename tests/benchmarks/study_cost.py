"""What an experiment costs, predicted from the records of a smaller one of the same networks and engines.

    python -m tests.benchmarks.study_cost SMALL_FOLDER LARGE.yaml [LARGE_FOLDER]

Seconds of engines: a phase of reconstruction costs what it did, and for each further slice the measured time of one; a
training costs its setup and compilation again, and its epochs by the number of updates. Bytes: datasets and images grow
with their slices, histories with updates, all else stays. With the folder of the larger experiment, what it really took
is beside. Look at `elapsed_s` and `stored_bytes`. `docs/scaling.md` quotes both.
"""

import json
import statistics
import sys
from pathlib import Path

from bart_bridge.reconet.training_settings import stages
from compare.settings.experiment import load

SPLITS = ("train", "validation", "test")


def main():
    small, large = Path(sys.argv[1]), load(Path(sys.argv[2]))
    before = load(small / "experiment.yaml")
    report = {
        "elapsed_s": {"small": sum(elapsed(small).values()), "predicted": sum(predict_elapsed(small, before, large))},
        "stored_bytes": {
            "small": sum(stored(small).values()),
            "predicted": sum(size * growth(path, before, large) for path, size in stored(small).items()),
        },
    }
    if len(sys.argv) > 3:
        folder = Path(sys.argv[3])
        for name, measured in (("elapsed_s", elapsed(folder)), ("stored_bytes", stored(folder))):
            report[name]["measured"] = sum(measured.values())
            report[name]["predicted_by_measured"] = report[name]["predicted"] / report[name]["measured"]
    print(json.dumps(report, indent=1))


def elapsed(folder):
    """Return the wall seconds of every process of an engine, by its record."""
    records = {path: json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/*.json"))}
    return {path: record["measurement"]["elapsed_s"] for path, record in records.items() if "measurement" in record}


def predict_elapsed(folder, small, large):
    slices = slices_of(large)["test"] - slices_of(small)["test"]
    for path, seconds in elapsed(folder).items():
        name, engine = path.parent.name.split("-", 1)
        calls = json.loads(path.with_name("infer.json").read_text())["inference"]["wall_s"]
        slice_s = statistics.median(calls)
        if path.stem == "train":
            parts = json.loads(path.read_text())["seconds"]
            ratio = updates(large, name) / updates(small, name)
            yield parts["setup"] + parts["compilation"] + parts["training"] * ratio
        elif path.stem == "infer" and engine.startswith("bart"):
            yield seconds + len(calls) * slices * slice_s
        else:
            yield seconds + slices * slice_s


def stored(folder):
    """Return the bytes of every file, by its path in the folder."""
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def growth(path, small, large):
    """Return how many times as large a file gets."""
    if path.parts[0] == "dataset" and len(path.parts) > 2 and path.suffix == ".cfl":
        return slices_of(large)[path.parts[1]] / slices_of(small)[path.parts[1]]
    if path.suffix == ".cfl" and (path.stem.endswith("images") or path.parts[0] == "references"):
        return slices_of(large)["test"] / slices_of(small)["test"]
    if path.parts[0] == "runs" and path.stem.startswith("history"):
        name = path.parts[1].split("-", 1)[0]
        return updates(large, name) / updates(small, name)
    return 1


def slices_of(experiment):
    return {split: getattr(experiment.dataset.simulate, split) for split in SPLITS}


def updates(experiment, name):
    trained = experiment.networks[name]
    batch = min(trained.training.batch_size, slices_of(experiment)["train"])
    return sum(epochs for _, epochs in stages(trained.network, trained.training)) * (
        slices_of(experiment)["train"] // batch
    )


if __name__ == "__main__":
    main()
