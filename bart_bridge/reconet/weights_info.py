"""What a weights file holds, as far as it can be told from the file alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.files import multi_cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.weights import REAL, Weights


@dataclass(frozen=True)
class WeightsInfo:
    """What weights are.

    Attributes:
        network: For example `VarNet`.
        sizes: Sizes by their names, iterations left out.
        iterations: Unrolled iterations; None where the file does not say.
        complex_parameters, real_parameters: Trained numbers of each kind.
        statistics: Real numbers that are not trained: means and variances of batch norm.
        lambdas: Values of lambda; empty where it is fixed and so not in the file.
        initial_lambda: Lambda of the SENSE initialization; None where it has no trained one of its own.
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
        """Return all of it as pairs of a name and a text."""
        total = 2 * self.complex_parameters + self.real_parameters
        rows = [("network", self.network)]
        rows.append(("iterations", "not in the file" if self.iterations is None else str(self.iterations)))
        rows += [(name, str(size)) for name, size in self.sizes.items()]
        kinds = f"{self.complex_parameters} complex and {self.real_parameters} real"
        rows.append(("trained parameters", f"{kinds}: {total} real numbers"))
        rows.append(("batch norm statistics", f"{self.statistics} real numbers"))
        rows.append(("lambda", " ".join(f"{value:.6g}" for value in self.lambdas) or "not in the file (fixed)"))
        if self.initial_lambda is not None:
            rows.append(("initialization lambda", f"{self.initial_lambda:.6g}"))
        return rows


def describe(network: Network, arrays: Weights, iterations: int | None) -> WeightsInfo:
    """Describe weights of VarNet or MoDL of BART.

    Args:
        network: Their network.
        arrays: Named arrays.
        iterations: Unrolled iterations, None if unknown.
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
    # One half of the stored complex numbers are means, the other half variances, which are real.
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
        InputError: The file is damaged or holds no weights of VarNet or MoDL.
    """
    network = infer(path)
    arrays = weights.read(path, network)
    single = all(len(values) == 1 for values in arrays.values())
    batch_norm = isinstance(network, ModlSettings) and network.batch_norm
    # One set of everything: a network of one iteration, or one that shares it among all of them.
    return describe(network, arrays, None if single and not batch_norm else network.iterations)


def infer(path: Path) -> Network:
    """Tell VarNet or MoDL and the sizes from the dimensions in a BART weights file.

    What is not in the file (normalisation, data consistency, initial image, the value of a fixed lambda) has its
    default. Where only one set of everything is stored, one iteration is assumed. Of two lambdas the first is of the
    initialization; a single one could be of either, and is taken for the network's. `bart_bridge.reconet.weights.read`
    with the result says whether the arrays fit together.

    Raises:
        InputError: The file is damaged or holds no weights of VarNet or MoDL.
    """
    dims = [values.shape for values in multi_cfl.read(path)]
    scalars = [shape[0] for shape in takewhile(lambda shape: len(shape) == 1, dims[:2])]
    blocks, lambdas = dims[len(scalars) :], scalars[-1] if scalars else None
    ranks = tuple(map(len, blocks))
    settings: dict[str, Any]
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
        # Any value that is not one at which a network's own lambda starts.
        "sense_initialization": {"initial_lambda": 0.1} if len(scalars) == 2 else None,
    }
    model = VarNetSettings if settings["kind"] == "varnet" else ModlSettings
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None


def _yes(value: bool) -> str:
    return "yes" if value else "no"
