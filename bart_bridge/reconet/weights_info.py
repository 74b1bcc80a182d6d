"""Describe a weights file, as far as the file alone allows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.files import multi_cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.weights import REAL, Weights
from bart_bridge.wording import counted


@dataclass(frozen=True)
class WeightsInfo:
    """Description of a set of weights.

    Attributes:
        network: Name of the network, for example `VarNet`.
        sizes: Sizes of the network by name, except the number of iterations.
        iterations: Number of unrolled iterations; None if the file does not say.
        complex_parameters: Number of trained complex weights.
        real_parameters: Number of trained real weights.
        statistics: Number of real values that are not trained: means and variances of batch norm.
        lambdas: Values of lambda; empty if lambda is fixed, because then it is not in the file.
        initial_lambda: Separate lambda of the SENSE initialization; None without one.
    """

    network: str
    sizes: dict[str, int | str]
    iterations: int | None
    complex_parameters: int
    real_parameters: int
    statistics: int
    lambdas: tuple[float, ...]
    initial_lambda: float | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the description as pairs of a name and a text."""
        total = 2 * self.complex_parameters + self.real_parameters
        rows = [("network", self.network)]
        rows.append(("iterations", "not in the file" if self.iterations is None else str(self.iterations)))
        rows += [(name, str(size)) for name, size in self.sizes.items()]
        counts = f"{self.complex_parameters} complex and {self.real_parameters} real"
        rows.append(("trained parameters", f"{counts}: {counted(total, 'real number')}"))
        rows.append(("batch norm statistics", counted(self.statistics, "real number")))
        rows.append(("lambda", " ".join(f"{value:.6g}" for value in self.lambdas) or "not in the file (fixed)"))
        if self.initial_lambda is not None:
            rows.append(("initialization lambda", f"{self.initial_lambda:.6g}"))
        return rows


def describe(network: Network, arrays: Weights, iterations: int | None) -> WeightsInfo:
    """Describe the weights of a VarNet or MoDL.

    Args:
        network: The network.
        arrays: Its named arrays.
        iterations: Number of unrolled iterations; None if unknown.
    """
    sizes: dict[str, int | str] = {
        "filters": f"{network.filters} complex",
        "kernel": f"{network.kernel_x} x {network.kernel_y}",
    }
    if isinstance(network, VarNetSettings):
        sizes["basis functions"] = network.basis
    else:
        sizes |= {"layers": network.layers, "batch norm": _yes(network.batch_norm), "bias": _yes(network.bias)}
    sizes["sets of filters"] = len(arrays["conv" if "conv" in arrays else "conv_0"])
    trained = {name: values.size for name, values in arrays.items() if not name.startswith("bn")}
    # Half of the stored complex numbers are means; the other half are variances, which are real.
    statistics = sum(values.size for name, values in arrays.items() if name.startswith("bn")) // 2 * 3
    return WeightsInfo(
        network="VarNet" if isinstance(network, VarNetSettings) else "MoDL",
        sizes=sizes,
        iterations=iterations,
        complex_parameters=sum(size for name, size in trained.items() if name not in REAL),
        real_parameters=sum(size for name, size in trained.items() if name in REAL),
        statistics=statistics,
        lambdas=tuple(float(value) for value in arrays.get("lambda", np.zeros(0)).real),
        initial_lambda=float(arrays["lambda_init"][0].real) if "lambda_init" in arrays else None,
    )


def describe_file(path: Path) -> WeightsInfo:
    """Describe a BART weights file.

    Raises:
        InputError: The file is damaged or does not contain weights of a VarNet or MoDL.
    """
    network = infer(path)
    arrays = weights.read(path, network)
    single = all(len(values) == 1 for values in arrays.values())
    batch_norm = isinstance(network, ModlSettings) and network.batch_norm
    # With one set of everything the network has one iteration, or shares its weights among all of them.
    return describe(network, arrays, None if single and not batch_norm else network.iterations)


def infer(path: Path) -> Network:
    """Infer the network and its sizes from the dimensions in a BART weights file.

    Settings that the file does not contain have their defaults: normalization, data consistency, initial image and the
    value of a fixed lambda. If the file has only one set of everything, one iteration is assumed. Of two lambdas, the
    first belongs to the initialization. A single lambda is ambiguous and is assigned to the network.
    `bart_bridge.reconet.weights.read` with the result checks that the arrays fit together.

    Raises:
        InputError: The file is damaged or does not contain weights of a VarNet or MoDL.
    """
    dims = [values.shape for values in multi_cfl.read(path)]
    scalars = [shape[0] for shape in takewhile(lambda shape: len(shape) == 1, dims[:2])]
    blocks, lambdas = dims[len(scalars) :], scalars[-1] if scalars else None
    ranks = tuple(map(len, blocks))
    settings: dict[str, object]
    if ranks == (6, 3):
        settings = {"kind": "varnet", "basis": blocks[1][1], "filters": blocks[0][0]}
        sets = iterations = blocks[0][5]
    elif ranks[:3] == (6, 7, 6) and ranks[3:] in {(), (2, 3, 2), (6, 7, 8, 7), (2, 3, 2, 6, 7, 8, 7)}:
        bias, batch_norm = 2 in ranks, 8 in ranks
        settings = {"kind": "modl", "layers": blocks[1][5] + 2, "bias": bias, "batch_norm": batch_norm}
        settings["filters"] = blocks[0][0]
        sets, iterations = blocks[0][5], blocks[-1][-1] if batch_norm else blocks[0][5]
    else:
        raise InputError(f"{path}: not weights of VarNet or MoDL (arrays of {', '.join(map(str, ranks))} dimensions)")
    iterations = max(iterations, lambdas or 1)
    settings |= {
        "kernel_x": blocks[0][2],
        "kernel_y": blocks[0][3],
        "iterations": iterations,
        "shared_weights": sets == 1,
        "shared_lambda": lambdas == 1,
        "fixed_lambda": 0.0 if lambdas is None else None,
        # Any value that differs from the start values of the networks' lambdas, so that this one is separate.
        "sense_initialization": {"initial_lambda": 0.1} if len(scalars) == 2 else None,
    }
    model = VarNetSettings if settings["kind"] == "varnet" else ModlSettings
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None


def _yes(value: bool) -> str:
    return "yes" if value else "no"
