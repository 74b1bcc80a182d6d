"""`bart-tf weights to-savedmodel`: networks as graphs that run without our code, in TensorFlow or in BART."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bart_bridge.errors import InputError
from compare.cli import options
from tf_models.backend.quiet import import_backend

if TYPE_CHECKING:
    from tf_models.files.model_files import Model
    from tf_models.files.operators import Operator

Part = Literal["network", "regularizer", "prior"]
# What runs it, by program and part.
_APPLY = {
    ("bart", "network"): "bart tensorflow -b SLICES {folder} ADJOINT COILS PSF IMAGE",
    ("bart", "regularizer"): "bart tensorflow -b SLICES {folder} IMAGE REGULARIZED",
    ("bart", "prior"): "bart pics -S -m -i 20 -R {regularization} KSPACE COILS IMAGE",
    ("bart-pytorch", "network"): "BART's C function nlop_pytorch_create; BART 1.0.00 has no command for it",
    ("bart-pytorch", "regularizer"): "BART's C function nlop_pytorch_create; BART 1.0.00 has no command for it",
}


def to_savedmodel(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Keras model: a .keras file.")],
    folder: Annotated[Path, typer.Argument(help="Folder to create; for bart-pytorch, a .pt file.")],
    x: Annotated[int, typer.Option(min=1, max=4096, help="Number of pixels along x.")],
    y: Annotated[int, typer.Option(min=1, max=4096, help="Number of pixels along y.")],
    program: Annotated[
        Literal["tensorflow", "bart", "bart-pytorch"],
        typer.Option("--for", help="What runs it: TensorFlow, or a BART that is built with TensorFlow or PyTorch."),
    ] = "tensorflow",
    part: Annotated[
        Part,
        typer.Option(help="BART: the network, its regularizer as a denoiser, or that as a prior for pics -R TF."),
    ] = "network",
    coils: Annotated[int | None, typer.Option(min=1, max=1024, help="BART, network: number of coils.")] = None,
    iteration: Annotated[
        int | None,
        typer.Option(min=0, help="BART, regularizer and prior: iteration with their weights, from 0. Default: last."),
    ] = None,
) -> None:
    """Write a Keras model as a TensorFlow SavedModel, and reload it to check it.

    Example: [bold]bart-tf weights to-savedmodel modl.keras modl_savedmodel --x 230 --y 180[/bold]

    For TensorFlow, the signature is 'reconstruct'. Inputs are adjoint, coils and psf
    (see tf_models/training/network_inputs.py), and the output is image. The number of
    slices and coils is free. For BART, only the number of slices is, and arrays have
    BART's dimensions. For BART with PyTorch, it is a TorchScript file, which needs
    the backend torch.
    """
    if program == "bart-pytorch":
        if part == "prior":
            raise InputError("--part prior: bart pics runs TensorFlow's graphs only; use --for bart")
        os.environ.setdefault("KERAS_BACKEND", "torch")
    if program == "tensorflow":
        options.refuse(context, "only with --for bart", "part", "coils", "iteration")
    elif part != "network":
        options.refuse(context, f"the {part} has no coils", "coils")
        if part == "prior" and {"{", "}"} & set(str(folder)):
            raise InputError(f"{folder}: bart pics -R 'TF:{{PATH}}' takes no path with a brace")
    else:
        options.refuse(context, "only with --part regularizer or prior", "iteration")
        if coils is None:
            raise InputError("--coils: the network needs it, because BART takes a fixed number of coils")
    from bart_bridge.files import atomic

    atomic.check_parent(folder)
    import_backend()
    from tf_models.files import model_files

    loaded = model_files.load(model)
    if program == "tensorflow":
        from tf_models.files import savedmodel

        difference = savedmodel.export(loaded, folder, y, x)
    else:
        from tf_models.files import bart_savedmodel, torchscript

        export = bart_savedmodel.export if program == "bart" else torchscript.export
        difference = export(_operator(loaded, part, (y, x), coils, iteration), folder)
    typer.echo(f"model: {folder} (relative difference when reloaded: {difference:.1e})")
    if program != "tensorflow":
        names = {"folder": str(folder), "regularization": f"TF:{{{folder}}}:LAMBDA"}
        quoted = {key: shlex.quote(name) for key, name in names.items()}
        typer.echo(f"apply: {_APPLY[program, part].format(**quoted)}")


def _operator(model: Model, part: Part, size: tuple[int, int], coils: int | None, iteration: int | None) -> Operator:
    from tf_models.files import operators

    if part == "network":
        assert coils is not None
        return operators.whole_network(model, *size, coils)
    function = operators.regularizer if part == "regularizer" else operators.prior
    return function(model, *size, model.network.iterations - 1 if iteration is None else iteration)
