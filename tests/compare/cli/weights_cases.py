"""Networks and checks that the tests of `bart-tf weights` share."""

from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.reconet import commands
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings

VARNET = {"iterations": 2, "filters": 3, "kernel_x": 5, "kernel_y": 3, "basis": 5}
MODL = {"iterations": 2, "layers": 4, "filters": 3, "kernel_x": 5}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, shared": VarNetSettings(**VARNET, shared_weights=True, shared_lambda=True),
    "varnet, fixed lambda": VarNetSettings(**VARNET, fixed_lambda=0.3, normalize=False),
    "modl": ModlSettings(**MODL),
    "modl, 3 layers": ModlSettings(**{**MODL, "layers": 3}),
    "modl, nothing shared": ModlSettings(**MODL, shared_weights=False, shared_lambda=False),
    "modl, no batch norm": ModlSettings(**MODL, batch_norm=False),
    "modl, no bias": ModlSettings(**MODL, bias=False),
}


def refused(result):
    """Check that a command rejected its input with one line, and return this line."""
    code, output, errors = result
    assert (code, output) == (2, ""), errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors


def rows(result):
    """Return the lines of `info` as a dictionary."""
    code, output, errors = result
    assert code == 0, errors
    return {line[:22].strip(): line[22:].strip() for line in output.splitlines()}


def bart_images(toolbox, network, split, path, folder):
    toolbox.run(*commands.apply_argv(toolbox, network, split, path, folder / "images")[1:])
    return to_batch_coil_yx(cfl.read(folder / "images"))[:, 0]
