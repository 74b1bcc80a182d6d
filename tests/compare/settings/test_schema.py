"""The schema accepts what a command accepts, and marks what an editor can know to be wrong."""

import json
from pathlib import Path

import jsonschema
import pytest

from bart_bridge.files import yaml_files
from compare.settings import builtin, schema
from compare.settings.experiment import Experiment
from compare.study.settings import Study

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
MODELS = {"experiment.schema.json": Experiment, "study.schema.json": Study}
FILES = sorted(CONFIGS.glob("*.yaml"))


def schema_of(path):
    """The schema that editors take for a file: its first line names it, relative to the file."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    return path.parent / first.partition("=")[2]


def faults(content, name):
    checker = jsonschema.Draft202012Validator(json.loads((CONFIGS / name).read_text()))
    return sorted(checker.iter_errors(content), key=lambda fault: fault.json_path)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_the_schema_of_today(name):
    assert (CONFIGS / name).read_text() == schema.text(MODELS[name]), (
        "run: bart-tf configs schema KIND > configs/KIND.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads((CONFIGS / name).read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_configuration_fits_the_schema_in_its_first_line(path):
    assert not faults(yaml_files.read(path), schema_of(path).name)


@pytest.mark.parametrize("name", builtin.names())
def test_a_copy_has_its_schema_beside_it(name, tmp_path):
    copy = builtin.copy(name, tmp_path / "configs")
    assert copy.read_bytes() == (CONFIGS / copy.name).read_bytes()
    assert schema_of(copy).read_bytes() == schema_of(CONFIGS / copy.name).read_bytes()


@pytest.mark.parametrize(
    ("keys", "value", "place"),
    [
        (("repeat",), 3, "$"),
        (("repeats",), 0, "$.repeats"),
        (("repeats",), "3", "$.repeats"),
        (("engines",), ["matlab"], "$.engines[0]"),
        (("networks", "varnet", "network", "kind"), "unet", "$.networks.varnet.network"),
        (("networks", "modl", "training", "adam", "beta_1"), 1, "$.networks.modl.training.adam.beta_1"),
        (("dataset", "folder"), "../data", "$.dataset"),
    ],
)
def test_a_fault_is_marked_at_its_place(keys, value, place):
    content = yaml_files.read(CONFIGS / "demo.yaml")
    *path, last = keys
    block = content
    for key in path:
        block = block.setdefault(key, {})
    block[last] = value
    (fault,) = faults(content, "experiment.schema.json")
    assert fault.json_path == place


def test_a_key_of_a_candidate_is_checked():
    content = yaml_files.read(CONFIGS / "optimizers.yaml")
    content["optimizers"]["sgd"][0] |= {"learning_rat": 1}
    (fault,) = faults(content, "study.schema.json")
    assert fault.json_path == "$.optimizers.sgd[0]"


@pytest.mark.parametrize("model", MODELS.values())
def test_every_key_is_described(model):
    content = json.loads(schema.text(model))
    blocks = [content, *content["$defs"].values()]
    assert len(blocks) > 5
    for block in blocks:
        assert block["description"]
        for name, key in block.get("properties", {}).items():
            assert len(key["description"]) > 8, name
