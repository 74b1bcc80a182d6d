"""Every command line in README.md, CONTRIBUTING.md and docs runs as it stands, in a folder with the files it names.

The command-line interface parses lines that cannot run in a test, with all their options, see `PARSED`. Lines of other
programs are checked as far as possible, see `OTHER`. Python examples run, and links must lead somewhere.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import typer.testing

from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings
from compare.cli import app
from tests import foreign, foreign_raw, foreign_twix, foreign_volumes
from tests.compare.cli.command_lines import DOCUMENTS, ROOT, blocks, examples, lines, parse, words
from tests.compare.conftest import TINY, bart_tf_undrawn

# Lines that are only parsed: how they begin, and why.
PARSED = {
    "bart-tf compare configs/table1.yaml": "needs a GPU",
    "bart-tf compare demo": "tests/test_installed.py runs it",
    "bart-tf parity configs/mine.yaml": "tests/compare/cli/test_terminal.py runs it",
    "bart-tf merge reports/day1": "tests/compare/running/test_merge.py runs it",
    "bart-tf compare configs/mine.yaml -o reports/both": "the same test runs it",
    "bart-tf compare configs/mine.yaml --on slurm": "needs Slurm, which tests/compare/running/test_submit.py starts",
    "bart-tf jobs resume": "nothing failed or stopped that could be resumed",
    "bart-tf import varnet-mat": "the published data has 20 subjects of 30 slices",
}
# Sizes that a test replaces by smaller ones.
SCALED = {"--x 230 --y 180": "--x 24 --y 20", "modl.keras -I 10": "modl.keras -I 2"}
# Lines of other programs: how they begin, and what is checked.
OTHER = {
    "make": "the target and its recipe exist; it may take hours",
    "KERAS_BACKEND=": "the module exists; it needs a GPU",
    ".venv/bin/python": "the arguments that are files exist; it installs packages, or needs a GPU",
    "python": "the module exists; it reads files that others made",
    ".": "sets up the shell",
    **dict.fromkeys(
        ["podman", "apptainer", "sbatch"], "tests/tools/test_container.py checks what the images are made of"
    ),
}
# Its lines call BART, with the output beside them; tests/test_notes.py runs them.
OF_BART = "bart-notes.md"
COMMANDS = [
    pytest.param(block, id=f"{path.name}:{number}")
    for path in DOCUMENTS
    if path.name != OF_BART
    for number, block in enumerate(blocks(path, "sh"))
]
PYTHON = [
    pytest.param(code, id=f"{path.name}:{number}")
    for path in DOCUMENTS
    if path.name != OF_BART
    for number, code in enumerate(blocks(path, "python"))
]


def is_parsed(line):
    return any(line.startswith(start) for start in PARSED)


@pytest.fixture
def workplace(tmp_path, monkeypatch, toolbox):
    """Enter an empty folder, and return a function that fills it with small files of the names in a block."""
    monkeypatch.chdir(tmp_path)

    def fill(block, tiny):
        if "configs/mine.yaml" in block:
            (tmp_path / "configs").mkdir()
            (tmp_path / "configs" / "mine.yaml").write_text(TINY)
            shutil.copytree(tiny[0], tmp_path / "reports" / "tiny")
        if "reports/before" in block:
            shutil.copytree(tiny[0], tmp_path / "reports" / "before")
            shutil.copytree(tiny[0], tmp_path / "reports" / "after")
        if "reports/demo/runs" in block:
            shutil.copytree(tiny[0] / "runs" / "varnet-bart", tmp_path / "reports/demo/runs/varnet-bart")
            write_scan(toolbox, 24)
        if "bart-tf view" in block:
            simulate(tmp_path / "reports/demo/dataset", Simulation(size=16, train=2, validation=1, test=1), toolbox)
            write_scan(toolbox, 24)
        if "bart-tf import" in block:
            truth = foreign.make_truth()
            one = foreign.Truth(truth.images[:1], truth.coils)
            (tmp_path / "volumes").mkdir()
            for number in range(20):
                foreign.write_fastmri(one, tmp_path / "volumes" / f"file{number:02}.h5")
            write_scan(toolbox, 64)
        if "calgary-campinas" in block:
            write_volumes(truth)
        if "bart-tf inspect" in block:
            write_scan(toolbox, 24)
        if "scan.h5" in block:
            write_raw_data(foreign.make_truth())
        if "wgh_modl" in block:
            network = ModlSettings(iterations=5)
            weights.write("wgh_modl", network, weights.random(network, 0))
            write_modl_checkpoint(tmp_path / "folder" / "model-50")
            write_scan(toolbox, 24)

    return fill


def write_scan(toolbox, size):
    """Write fully sampled k-space, its coil sensitivities and its image."""
    image, coils = toolbox.compute("phantom", "-x", size), toolbox.compute("phantom", "-x", size, "-S", 4)
    coils = toolbox.compute("normalize", 8, coils)
    arrays = {
        "kspace": toolbox.compute("fft", "-u", 3, toolbox.compute("fmac", image, coils)),
        "sens": coils,
        "ref": image,
    }
    for name, array in arrays.items():
        cfl.write(name, array)


def write_volumes(truth):
    """Write a volume of Calgary-Campinas with a pattern, and a cine series of CMRxRecon."""
    Path("Train").mkdir()
    foreign_volumes.write_calgary(truth, "Train/volume.h5", positions=190)
    measured = np.arange(foreign.X) < 0.85 * foreign.X
    np.save("R5_218x170.npy", np.random.default_rng(0).uniform(size=(2, foreign.Y, foreign.X)) < 0.6 * measured)
    Path("FullSample/P001").mkdir(parents=True)
    foreign_volumes.write_cmrxrecon(truth, Path("FullSample/P001/cine_sax.mat"))


def write_raw_data(truth):
    """Write ISMRMRD raw data with two groups, repetitions and contrasts, and Siemens raw data with two sets."""
    for group in ("scan_1", "scan_2"):
        counters = [(repetition, contrast) for repetition in (0, 1) for contrast in (0, 1)]
        scan = [
            item
            for repetition, contrast in counters
            for item in foreign_raw.slice_lines(truth.kspace[contrast], repetition=repetition, contrast=contrast)
        ]
        foreign_raw.write("scan.h5", foreign_raw.header(), scan, group)
    header = foreign_twix.protocol(foreign.X, foreign.Y, factor=1.0)
    centres = (foreign.Y // 2, 0)
    sets = [
        foreign_twix.line(truth.kspace[number, :, y], centres=centres, Lin=y, Set=number)
        for number in (0, 1)
        for y in range(foreign.Y)
    ]
    foreign_twix.write("meas.dat", [(header, sets)])


def write_modl_checkpoint(prefix):
    """Write variables of the original MoDL as TensorFlow 1 did."""
    from tf_models.networks.modl_original import MoDLOriginal

    variables = MoDLOriginal({"iterations": 1, "layers": 3, "filters": 4}).named_variables()
    arrays = {name: np.asarray(values) for name, values in variables.items()}
    prefix.parent.mkdir()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        written = [tf.compat.v1.Variable(values, name=name) for name, values in arrays.items()]
        session.run(tf.compat.v1.variables_initializer(written))
        tf.compat.v1.train.Saver(written).save(session, str(prefix))


def run(line):
    """Run a line of bart-tf in this process, which has TensorFlow already.

    Lines that may start jobs get a process of their own: submitit configures logging, and absl's handler then closes
    pytest's standard error.
    """
    for size, smaller in SCALED.items():
        line = line.replace(size, smaller)
    arguments = [
        name for word in words(line)[1:] for name in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    if arguments[0] in {"compare", "jobs"}:
        finished = bart_tf_undrawn(*arguments)
        assert finished.returncode == 0, f"{line}: {finished.stderr}"
        return
    result = typer.testing.CliRunner().invoke(app, arguments, standalone_mode=False)
    assert result.exit_code == 0, f"{line}: {result.exception!r}"


@pytest.mark.parametrize("block", COMMANDS)
def test_a_block_of_commands(block, workplace, undrawn, request):
    if any(name in block for name in ("configs/mine.yaml", "reports/demo/runs", "reports/before")):
        workplace(block, request.getfixturevalue("tiny"))
    else:
        workplace(block, None)
    for line in lines(block):
        first = words(line)[0]
        if first == "bart-tf":
            parse(words(line)[1:])
            if not is_parsed(line):
                run(line)
        elif first == "make":
            dry = subprocess.run(
                ["make", "-n", *words(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert dry.returncode == 0, dry.stderr
        else:
            assert any(first.startswith(program) for program in OTHER), f"{line}: neither run nor looked at"
            for module in re.findall(r"-m (tests\.\S+)", line):
                assert importlib.util.find_spec(module), line
            for path in re.findall(r"\S+\.(?:py|txt)\b", line):
                assert (ROOT / path).exists(), line


def test_every_reason_is_needed():
    every = [
        line for path in DOCUMENTS if path.name != OF_BART for block in blocks(path, "sh") for line in lines(block)
    ]
    assert all(any(line.startswith(start) for line in every) for start in [*PARSED, *OTHER])
    assert all(any(size in line for line in every) for size in SCALED)


@pytest.mark.parametrize("code", PYTHON)
def test_a_python_example(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = ModlSettings(iterations=10)
    weights.write("weights_from_bart", network, weights.random(network, 0))
    exec(compile(code, "example", "exec"), {})
    if "weights_for_bart" in code:
        assert [file.read_bytes() for file in cfl.files("weights_for_bart")] == [
            file.read_bytes() for file in cfl.files("weights_from_bart")
        ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            name, _, heading = target.partition("#")
            linked = (path.parent / name) if name else path
            assert linked.exists(), target
            assert not heading or heading in headings(linked), target


def headings(path):
    """Return the anchors that GitHub gives the headings of a Markdown file."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("line", sorted(examples()))
def test_an_example_of_the_help_is_understood(line):
    assert parse(words(line)[1:]).command_path.startswith("bart-tf ")


def test_a_wrong_option_in_a_document_is_noticed():
    for line in (
        "bart-tf compare x.yaml --one slurm",
        "bart-tf weights from-bart --network=unet a b",
        "bart-tf jobs x",
    ):
        with pytest.raises(Exception, match=r"one|unet|x"):
            parse(words(line)[1:])
