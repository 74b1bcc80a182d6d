"""Which folder may import which, what is light to import, and how long modules and functions may be."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Packages and in each its folders, from the bottom to the top: each imports what stands on a line below its own.
FLOORS = [
    "bart_bridge.errors bart_bridge.wording bart_bridge.measures bart_bridge.former_names",
    "bart_bridge.files",
    "bart_bridge.tools",
    "bart_bridge.data",
    "bart_bridge.reconet",
    "bart_bridge.baselines bart_bridge.importers",
    "bart_bridge.exporters bart_bridge.inspection",
    "bart_bridge",
    "tf_models.backend",
    "tf_models.kernels tf_models.optimizers",
    "tf_models.operators",
    "tf_models.networks",
    "tf_models.training tf_models.files",
    "tf_models.programs",
    "tf_models",
    "compare.console compare.settings compare.measuring",
    "compare.engines",
    "compare.running",
    "compare.results",
    "compare.report",
    "compare.applying compare.parity compare.study compare.trace",
    "compare.cli",
    "compare",
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
# Networks know no optimizer, although both stand above the backend.
NEVER = {("tf_models.operators", "tf_models.optimizers"), ("tf_models.networks", "tf_models.optimizers")}
HEAVY = (
    "tensorflow keras jax torch pandas pyarrow scipy matplotlib skimage sklearn PIL ismrmrd finufft submitit nibabel"
)
# What the commands of `compare` import in their own process.
LIGHT_MODELS = ["tf_models", "tf_models.backend.channels", "tf_models.backend.quiet", "tf_models.programs.worker"]
LIGHT_MODELS += ["tf_models.training.network_inputs", "tf_models.backend.compilation_cache"]
# Runs as a script on import, in a process of its own.
SCRIPT = "bart_bridge.tools._launcher"

MODULE_LINES, FUNCTION_LINES, PARAMETERS = 300, 60, 6
MANY_PARAMETERS = {
    "tf_models.optimizers.adam.Adam.__init__": "a Keras optimizer names each of its settings",
    "tf_models.optimizers.admm.ADMM.__init__": "a Keras optimizer names each of its settings",
    **{
        f"tf_models.kernels.triton_{name}": "a kernel takes each array, size and constant by itself"
        for name in (
            *("experts.activation", "experts.store_pixel", "experts.convolve_kernel", "experts.transposed_kernel"),
            *("experts.filters_kernel", "experts.rbf_kernel", "convolution.same_conv_kernel"),
            *("convolution.kernel_gradient_kernel", "normalization.upstream_kernel"),
        )
    },
    "bart_bridge.importers.ismrmrd_raw.open_ismrmrd": "each is an option of the command",
}

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("bart_bridge", "tf_models", "compare")
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def nodes(tree, late=True):
    """All nodes below one; without `late` only those that run when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        is_late = isinstance(node, FUNCTION) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        if late or not is_late:
            yield node
            yield from nodes(node, late)


def imports(tree, late=True):
    """The modules of ours that a module imports."""
    for node in nodes(tree, late):
        if isinstance(node, ast.Import):
            # `import bart_bridge` is for its version.
            yield from (alias.name for alias in node.names if alias.name in MODULES and "." in alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = [alias.name for alias in node.names if not alias.name.startswith("__")]
            full = [f"{node.module}.{name}" for name in names]
            yield from (name if name in MODULES else node.module for name in full)


def folder(module):
    return ".".join(module.split(".")[:2])


def test_folders_import_only_what_is_below_them():
    arrows = {
        (folder(name), folder(imported)): f"{name} imports {imported}"
        for name, tree in TREES.items()
        for imported in imports(tree)
        if folder(name) != folder(imported)
    }
    wrong = {pair: text for pair, text in arrows.items() if pair in NEVER or FLOOR[pair[0]] <= FLOOR[pair[1]]}
    assert not list(wrong.values())


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter({name: set(imports(tree, late=False)) - {name} for name, tree in TREES.items()}).prepare()


def test_only_one_module_compares_versions_of_bart():
    compared = {
        f"{name}: {ast.unparse(node)}"
        for name, tree in TREES.items()
        if name != "bart_bridge.tools.versions"
        for node in nodes(tree)
        if isinstance(node, ast.Compare) and "version" in ast.unparse(node)
        if any(isinstance(side, ast.Tuple) for side in (node.left, *node.comparators))
    }
    assert not compared


def run_python(code, *arguments):
    argv = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)


def test_no_module_loads_anything_heavy():
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = set(sys.argv[1].split()) & set(sys.modules)\n"
        "    if heavy: sys.exit(f'{name} loads {heavy}')"
    )
    light = [name for name in MODULES if not name.startswith("tf_models.") and name != SCRIPT]
    light += LIGHT_MODELS
    finished = run_python(code, HEAVY, *light)
    assert finished.returncode == 0, finished.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import atexit, sys\n"
        "from compare.cli import main\n"
        "heavy = sys.argv.pop().split()\n"
        "atexit.register(lambda: print('loaded:', *(set(heavy) & set(sys.modules))))\n"
        "main()"
    )
    finished = run_python(code, "--help", f"{HEAVY} h5py numpy tf_models.networks")
    assert finished.returncode == 0, finished.stderr
    assert "Usage" in finished.stdout
    assert finished.stdout.rstrip().endswith("loaded:")


def assert_within(limit, numbers, exceptions=()):
    assert not "\n".join(f"{name}: {n}" for name, n in numbers.items() if n > limit and name not in exceptions)


def test_modules_are_short():
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items() if "trace" not in name}
    assert_within(MODULE_LINES, lengths)


def functions():
    """Full name, node and whether it is a command, whose parameters are its options, for each function and method."""
    for name, tree in TREES.items():
        classes = {
            child: f"{node.name}." for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body
        }
        for node in filter(lambda node: isinstance(node, FUNCTION), ast.walk(tree)):
            command = name.startswith("compare.cli.") and not node.name.startswith("_")
            yield f"{name}.{classes.get(node, '')}{node.name}", node, command


def test_functions_are_short():
    lengths = {
        name: node.end_lineno - (node.body[0].lineno if command else node.lineno) + 1
        for name, node, command in functions()
    }
    assert_within(FUNCTION_LINES, lengths)


def test_functions_take_few_parameters():
    counts = {
        name: len(
            {arg.arg for arg in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]} - {"self", "cls"}
        )
        for name, node, command in functions()
        if not command
    }
    assert_within(PARAMETERS, counts, MANY_PARAMETERS)
