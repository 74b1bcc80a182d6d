"""`bart-tf weights`: weights from and to BART, TensorFlow 1 and SavedModels."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.errors import InputError
from compare.cli import options
from compare.cli.savedmodel import to_savedmodel
from tf_models.backend.quiet import import_backend

if TYPE_CHECKING:
    from bart_bridge.reconet.weights_info import WeightsInfo

Source = Annotated[Path, typer.Argument(help="Keras model: a .keras file.")]
Target = Annotated[Path, typer.Argument(help="Keras model to write: a .keras file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Convert weights from and to BART, TensorFlow 1 checkpoints and SavedModels.\n\n"
        "Example: [bold]bart-tf weights info wgh_modl[/bold]",
        no_args_is_help=True,
    )
    group.command()(info)
    group.command("to-bart")(to_bart)
    group.command("from-bart", context_settings=options.BART_SYNTAX)(from_bart)
    group.command("from-tf1")(from_tf1)
    group.command("to-savedmodel")(to_savedmodel)
    app.add_typer(group, name="weights")


def info(
    weights: Annotated[Path, typer.Argument(help="BART weights, a .keras file, or the prefix of a TF 1 checkpoint.")],
) -> None:
    """Show what a weights file contains: network, sizes, iterations, number of parameters, lambda.

    Example: [bold]bart-tf weights info wgh_modl[/bold]
    """
    for name, text in _describe(weights).rows():
        typer.echo(f"{name:<22} {text}")


def to_bart(
    model: Source, weights: Annotated[Path, typer.Argument(help="BART weights to write: a .cfl and a .hdr file.")]
) -> None:
    """Write the weights of a Keras model for bart reconet, and show the options that fit them.

    Example: [bold]bart-tf weights to-bart reports/demo/runs/modl-keras-tensorflow/weights.keras wgh_modl[/bold]
    """
    from bart_bridge.files import atomic

    atomic.check_parent(weights)
    import_backend()
    from bart_bridge.files.cfl import stem
    from bart_bridge.reconet.commands import apply_options
    from tf_models.files import model_files
    from tf_models.networks.modl_original import MoDLOriginal

    loaded = model_files.load(model)
    model_files.to_bart(loaded, weights)
    assert not isinstance(loaded, MoDLOriginal)
    typer.echo(f"weights: {weights}")
    arguments = [*apply_options(loaded.network), "KSPACE", "COILS", str(stem(weights)), "OUTPUT"]
    typer.echo(f"apply:   bart reconet {shlex.join(arguments)}")


def from_bart(context: typer.Context) -> None:
    """Make a Keras model of BART weights. Describe the network with the options of bart reconet, then name two files.

    These options describe a network: --network, -I, --normalize, --rss-norm,
    --varnet-block, --resnet-block, --data-consistency, --initial-reco,
    --(no-)shared-weights and --(no-)shared-lambda. Use those that you would pass
    to bart reconet --apply.

    Example: [bold]bart-tf weights from-bart --network=modl -I5 --normalize wgh_modl modl.keras[/bold]
    """
    from bart_bridge.files import atomic
    from bart_bridge.reconet.command_line import parse_network

    if options.show_help(context):
        return
    network, files = parse_network(context.args)
    if len(files) != 2:
        raise InputError(f"two files are needed (BART weights, Keras model to write), not {len(files)}")
    weights, model = map(Path, files)
    atomic.check_new_file(model)
    import_backend()
    from tf_models.files import model_files

    model_files.save(model_files.from_bart(weights, network), model)
    typer.echo(f"model: {model}")


def from_tf1(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="Prefix of the checkpoint, such as folder/model-50.")],
    model: Target,
    iterations: Annotated[
        int | None,
        typer.Option(
            "--iterations", "-I", help="MoDL: number of unrolled iterations, which the checkpoint does not store."
        ),
    ] = None,
    gradient: Annotated[
        str, typer.Option(help="MoDL: derivative in training: 'implicit', 'unrolled' or 'modl_legacy'.")
    ] = "implicit",
    activation: Annotated[
        str | None, typer.Option(help="VarNet: activation in training: 'tensorflow-icg' or 'optox'.")
    ] = None,
) -> None:
    """Make a Keras model of a TensorFlow 1 checkpoint of the original MoDL or VarNet.

    VarNet's activations are scaled by s: s = 1 for 'tensorflow-icg', s = 0.4 for
    'optox'.

    Example: [bold]bart-tf weights from-tf1 04Jun_0356pm_5L_10K_50E_AG/model-50 modl.keras -I 10[/bold]
    """
    from bart_bridge.files import atomic

    atomic.check_new_file(model)
    import_backend()
    from tf_models.files import model_files, tf1_checkpoints

    arrays = tf1_checkpoints.read(checkpoint)
    if tf1_checkpoints.is_varnet(arrays):
        options.refuse(context, "the checkpoint is a VarNet's, this is for MoDL", "iterations", "gradient")
        if activation not in tf1_checkpoints.ACTIVATION_SCALE:
            known = ", ".join(tf1_checkpoints.ACTIVATION_SCALE)
            raise InputError(f"--activation: VarNet needs one of {known}, received {activation or 'none'}")
        network: model_files.Model = tf1_checkpoints.varnet(checkpoint, arrays, activation)
    else:
        options.refuse(context, "the checkpoint is a MoDL's, this is for VarNet", "activation")
        if iterations is None:
            raise InputError("--iterations: MoDL needs it, because a checkpoint does not store it")
        network = tf1_checkpoints.modl(checkpoint, arrays, iterations=iterations, gradient=gradient)
    model_files.save(network, model)
    typer.echo(f"model: {model}")


def _describe(path: Path) -> WeightsInfo:
    """Describe a weights file of any kind, without importing TensorFlow for BART's.

    Raises:
        InputError: The path is no weights file, or a damaged one.
    """
    from bart_bridge.files import cfl
    from bart_bridge.reconet import weights_info

    if path.suffix == ".keras":
        import_backend()
        from tf_models.files import model_files
        from tf_models.files.weights_info import describe_model

        return describe_model(model_files.load(path))
    if any(file.exists() for file in cfl.files(path)):
        return weights_info.describe_file(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; name BART weights, a .keras file or the prefix of a checkpoint in it")
    import_backend()
    from tf_models.files import tf1_checkpoints
    from tf_models.files.weights_info import describe_checkpoint

    if tf1_checkpoints.is_checkpoint(path):
        return describe_checkpoint(path)
    if path.exists():
        raise InputError(f"{path}: neither BART weights, nor a .keras file, nor a TensorFlow 1 checkpoint")
    raise InputError(f"{path}: no such file: no {path.name}.hdr, no {path.name}.index")
