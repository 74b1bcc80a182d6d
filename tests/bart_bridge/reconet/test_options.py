"""What `bart-tf reconet` takes and refuses, beside what the installed BART says to the same words."""

import itertools
import resource
import shlex
import signal
import subprocess
import sys

import pytest

from bart_bridge.errors import InputError
from bart_bridge.reconet.command_line import parse

# BART reads the command line before it looks for these; its complaint about them is the end of each line that it takes.
FILES = ["no-kspace", "no-coils", "no-weights", "no-reference"]
# What stands before the sub-options, and those of each type; `flag` takes no value.
SUB_OPTIONS = {
    "--network varnet --varnet-block": {"integer": "F filters X filter-x Y filter-y W basis"},
    "--network modl --resnet-block": {
        "integer": "L layers F filters X filter-x Y filter-y",
        "flag": "no-bias no-batch-normalization",
    },
    "--network modl --data-consistency": {
        "integer": "max-cg-iter",
        "number": "fix-lambda lambda-init",
        "flag": "gradient-step proximal-mapping",
    },
    "--network modl --initial-reco": {
        "integer": "max-cg-iter",
        "number": "fix-lambda lambda-init",
        "flag": "sense tickhonov",
    },
    "--network modl -T": {
        "integer": "e epochs dump-mod",
        "number": "r learning-rate weight-decay clip-norm clip-value learning-rate-min",
        "file": "export-history",
        "flag": "sgd adam ipalm batchgen-same",
    },
    "--network modl -T adam --adam": {"integer": "reset-momentum", "number": "epsilon"},
    "--network varnet --iPALM s --iPALM": {
        "number": "L-min L-max alpha",
        "flag": "convex non-trivial-step-size no-momentum-reduction",
    },
    "--network modl --train-loss": {"number": "mse mad nmse mse-magnitude mad-magnitude nmse-magnitude ssim"},
    "--network modl --valid-data k=a,c=b,r=c --valid-data": {"file": "k kspace c coil r ref p pattern"},
}
VALUES = {
    "integer": ("3", "+5", "007", " 9", "abc", "3x", "1.5", "0x3", "1_1", "3 ", "--3", "1e1"),
    "number": ("0.5", "1", "2e-3", "+.25", "3.", " 1E0", "abc", "0.5x", "1_1", "2 ", "1e", "1.5.5", "--1", "", "2i"),
    "file": ("name", "a name", "x=y"),
}
# BART takes an integer without digits for 0, numbers in other writings, a file without a name or with that of a folder,
# and the value of a flag.
STRICTER = {"integer": ("",), "number": ("0x1p-2", "1+0i", "inf"), "file": ("", "."), "flag": ("0", "1", "no", "")}
LINES = """
    --train
    --network varnet
    --train --network varnet
    --train --apply --network varnet
    --apply --network modl --normalize --rss-norm
    -e -n -N modl
    --train --network unknown
    --train --network
    --train=1 --network varnet
    --tra --network varnet
    --train --net varnet
    --train --network varnet --norm
    --train --network varnet --shared
    --train --network varnet --unknown
    --train --network varnet one-file-more
    -tn --network varnet -b4 -I 2
    -tnNvarnet -b 4 -I2 --test --lowmem --load-memory
    -tnq --network varnet
    -tn --network varnet -b=2
    -tn --network varnet -b x
    -tn --network varnet -b 2.0
    -tn --network varnet -I 3x
    -tn --network varnet -I 1_0
    -tn --network varnet --batch-size=4 --iterations 2 --shared-weights --no-shared-lambda
    -tn --network varnet --shared-lambda --shared-lambda
    -tn --network varnet --shared-lambda --no-shared-lambda
    -tn --network varnet --no-shared-weights --shared-weights
    -tn --network modl --valid-data k=a,c=b,r=c,p=d --load e
    -tn --network modl --valid-data x=a
    -tn --network modl --pattern p --trajectory t
    -tn --network modl -T '' --resnet-block ''
    -tn --network varnet -Te=2
    -tn --network varnet -T e=2,
    -tn --network varnet -T ,e=2
    -tn --network varnet -T e=2,,r=1
    -tn --network varnet -T ,
    -tn --network varnet -T e=2,e=3,r=0.1 -T e=4
    -tn --network varnet -T e=2, -T r=2
    -tn --network varnet -T e=99999999999
    -tn --network varnet -T E=2
    -tn --network varnet -T epoch=2
    -tn --network varnet -T ' e=2'
    -tn --network varnet -T sgd,sgd
    -tn --network varnet -T sgd,adam
    -tn --network varnet -T sgd -T adam
    -tn --network varnet -T adam --adam s
    -tn --network varnet --adam s,adam
    -tn --network varnet --adam s,beta1=0.8,beta2=0.99
    -tn --network varnet --adam gamma=1
    -tn --network varnet --iPALM s -T ipalm
    -tn --network varnet --iPALM L-size=1
    -tn --network varnet --train-loss l2=1
    -tn --network varnet --train-loss mse=0
    -tn --network varnet --initial-reco cg
    -tn --network varnet --data-consistency newton
    -tn --network varnet -T r=0,e=-1,clip-norm=0,clip-value=0,learning-rate-min=0,cosine-annealing-mod=0,dump-mod=-1
    -tn --network modl --data-consistency fix-lambda=-1,lambda-init=-1
    -tn --network modl --initial-reco sense,fix-lambda=-2,lambda-init=-1,max-cg-iter=-1
"""


def named_with(values):
    """Lines for each sub-option with each value of its type."""
    for option, types in SUB_OPTIONS.items():
        for kind, names in types.items():
            for name, value in itertools.product(names.split(), values.get(kind, ())):
                yield [*shlex.split(f"--train {option}"), f"{name}={value}", *FILES]


def compared_lines():
    flags = (
        [*shlex.split(f"--train {option}"), name, *FILES]
        for option, types in SUB_OPTIONS.items()
        for name in types.get("flag", "").split()
    )
    return [*([*shlex.split(line), *FILES] for line in LINES.strip().splitlines()), *flags, *named_with(VALUES)]


def is_taken_by_us(arguments):
    try:
        parse(arguments)
    except InputError as error:
        message = str(error)
    else:
        return True
    assert message.startswith("reconet: ")
    assert "\n" not in message
    return False


@pytest.fixture
def is_taken_by_bart(toolbox, tmp_path):
    """Tell whether BART gets as far as opening the first file."""
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))

    def run(arguments):
        finished = subprocess.run(
            [toolbox.path, "reconet", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert finished.returncode in (1, -signal.SIGABRT), (arguments, finished)
        assert "ERROR" in finished.stderr, (arguments, finished)
        return "Loading cfl file no-" in finished.stderr

    yield run
    resource.setrlimit(resource.RLIMIT_CORE, limits)


def test_what_bart_refuses_is_refused_and_what_it_takes_is_taken(is_taken_by_bart):
    lines = compared_lines()
    taken = [is_taken_by_bart(line) for line in lines]
    assert len(lines) >= 300
    assert min(taken.count(True), taken.count(False)) >= 100
    differing = [" ".join(line) for line, answer in zip(lines, taken, strict=True) if is_taken_by_us(line) != answer]
    assert not differing


def test_what_bart_takes_without_a_sense_is_refused(is_taken_by_bart):
    lines = list(named_with(STRICTER))
    assert all(is_taken_by_bart(line) for line in lines)
    assert not any(is_taken_by_us(line) for line in lines)


def test_a_sub_option_without_its_value_is_refused_by_name():
    """Of these BART is not asked."""
    for option, types in SUB_OPTIONS.items():
        for kind, names in types.items():
            for name in names.split() if kind != "flag" else ():
                with pytest.raises(InputError, match=rf"^reconet: --[-\w]+: {name} needs .*, received ''$"):
                    parse([*shlex.split(f"--train {option}"), name, *FILES])


@pytest.mark.parametrize("position", range(4))
def test_a_file_needs_a_name(position):
    """A folder has none: its array would be a hidden file in it, or one beside it."""
    files = [*FILES[:position], ".", *FILES[position + 1 :]]
    with pytest.raises(InputError, match=r"^reconet: [a-z ]+ needs a file, received '\.'$"):
        parse(["--train", "--network", "modl", *files])


def test_a_flag_is_not_switched_off_by_its_value():
    with pytest.raises(InputError, match="no-bias is a flag and takes no value, received '0'"):
        parse(["--train", "--network", "modl", "--resnet-block", "no-bias=0", *FILES])


def test_values_are_those_of_their_type():
    line = "--train --network modl --resnet-block L=+4,F=007,no-bias -T r=.5,e=3,dump-mod=2,export-history=h"
    command = parse([*shlex.split(line), *FILES])
    assert (command.network.layers, command.network.filters, command.network.bias) == (4, 7, False)
    assert (command.training.learning_rate, command.training.epochs, command.dump_epochs) == (0.5, 3, 2)
    assert command.history.name == "h"


def test_values_that_mean_the_default_to_bart_do_so_here():
    unset = "-T r=0,e=-1,clip-norm=0,learning-rate-min=0,cosine-annealing-mod=0,dump-mod=-1 --train-loss mse=0,mad=0"
    lines = ("", unset, "--data-consistency lambda-init=-1,fix-lambda=-1", "-T adam --adam reset-momentum=-1")
    commands = [parse([*shlex.split(f"--train --network modl {line}"), *FILES]) for line in lines]
    assert all(command == commands[0] for command in commands)


def test_a_wrong_sub_option_ends_the_command_in_one_line():
    arguments = ["--train", "--network", "modl", "-T", "dump-mod=abc", *FILES]
    program = [sys.executable, "-c", "from compare.cli import main; main()", "reconet", *arguments]
    finished = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == "error: reconet: --train-algo: dump-mod needs an integer, received 'abc'\n"
