"""`bart-tf weights`: trained networks to and from other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bart_bridge.errors import InputError
from compare.cli import options
from tf_models.backend.quiet import import_backend

if TYPE_CHECKING:
    from bart_bridge.reconet.weights_info import WeightsInfo

Source = Annotated[Path, typer.Argument(help="Keras model, a .keras file.")]
Target = Annotated[Path, typer.Argument(help="Keras model to write, a .keras file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Take weights to and from BART, TensorFlow 1 checkpoints and SavedModels.\n\n"
        "Example: [bold]bart-tf weights info wgh_modl[/bold]",
        no_args_is_help=True,
    )
    group.command()(info)
    group.command("to-bart")(to_bart)
    # Options are BART's own and are read by their own parser.
    settings: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    group.command("from-bart", context_settings=settings)(from_bart)
    group.command("from-tf1")(from_tf1)
    group.command("to-savedmodel")(to_savedmodel)
    app.add_typer(group, name="weights")


def info(
    weights: Annotated[Path, typer.Argument(help="BART weights, a .keras file, or the prefix of a TF 1 checkpoint.")],
) -> None:
    """Say what a weights file of any kind holds: network, sizes, iterations, number of parameters, lambda.

    Example: [bold]bart-tf weights info wgh_modl[/bold]
    """
    for name, text in _describe(weights).rows():
        typer.echo(f"{name:<22} {text}")


def to_bart(
    model: Source, weights: Annotated[Path, typer.Argument(help="BART weights to write, a .cfl and a .hdr.")]
) -> None:
    """Write the weights of a Keras model for bart reconet, and show the options to use them with.

    Example: [bold]bart-tf weights to-bart reports/demo/runs/modl-keras-tensorflow/weights.keras wgh_modl[/bold]
    """
    import_backend()
    from bart_bridge.files.cfl import stem
    from bart_bridge.reconet.commands import apply_options
    from tf_models.files import model_files
    from tf_models.networks.modl_original import MoDLOriginal

    loaded = model_files.load(model)
    model_files.to_bart(loaded, weights)
    assert not isinstance(loaded, MoDLOriginal)
    typer.echo(f"weights: {weights}")
    typer.echo(f"apply:   bart reconet {' '.join(apply_options(loaded.network))} KSPACE COILS {stem(weights)} OUTPUT")


def from_bart(context: typer.Context) -> None:
    """Make a Keras model of BART weights. The network is told with the options of bart reconet, then come two files.

    Takes --network, -I, --normalize, --rss-norm, --varnet-block, --resnet-block, --data-consistency, --initial-reco,
    --(no-)shared-weights and --(no-)shared-lambda: those that the weights are applied with.

    Example: [bold]bart-tf weights from-bart --network=modl -I5 --normalize wgh_modl modl.keras[/bold]
    """
    from bart_bridge.reconet.command_line import parse_network

    if {"-h", "--help"} & set(context.args):
        typer.echo(context.get_help())
        return
    network, files = parse_network(context.args)
    if len(files) != 2:
        raise InputError(f"two files are needed (BART weights, Keras model to write), not {len(files)}")
    weights, model = map(Path, files)
    import_backend()
    from tf_models.files import model_files

    model_files.save(model_files.from_bart(weights, network), model)
    typer.echo(f"model: {model}")


def from_tf1(
    context: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="Prefix of the checkpoint, such as folder/model-50.")],
    model: Target,
    iterations: Annotated[
        int | None, typer.Option("--iterations", "-I", help="MoDL: unrolled iterations, which it does not store.")
    ] = None,
    gradient: Annotated[
        str, typer.Option(help="MoDL: derivative in training, 'implicit', 'unrolled' or 'modl_legacy'.")
    ] = "implicit",
    activation: Annotated[
        str | None, typer.Option(help="VarNet: the activation it was trained with, 'tensorflow-icg' or 'optox'.")
    ] = None,
) -> None:
    """Make a Keras model of a TensorFlow 1 checkpoint of the original MoDL or VarNet.

    VarNet's activations become s times those of the checkpoint: s = 1 for 'tensorflow-icg', s = 0.4 for 'optox'.

    Example: [bold]bart-tf weights from-tf1 04Jun_0356pm_5L_10K_50E_AG/model-50 modl.keras -I 10[/bold]
    """
    import_backend()
    from tf_models.files import model_files, tf1_checkpoints

    arrays = tf1_checkpoints.read(checkpoint)
    if tf1_checkpoints.is_varnet(arrays):
        options.refuse(context, "the checkpoint is that of a VarNet, this is for MoDL", "iterations", "gradient")
        if activation not in tf1_checkpoints.ACTIVATION_SCALE:
            known = ", ".join(tf1_checkpoints.ACTIVATION_SCALE)
            raise InputError(f"--activation: VarNet needs one of {known}, received {activation or 'none'}")
        made: model_files.Model = tf1_checkpoints.varnet(checkpoint, arrays, activation)
    else:
        options.refuse(context, "the checkpoint is that of a MoDL, this is for VarNet", "activation")
        if iterations is None:
            raise InputError("--iterations: MoDL needs it, a checkpoint does not store it")
        made = tf1_checkpoints.modl(checkpoint, arrays, iterations=iterations, gradient=gradient)
    model_files.save(made, model)
    typer.echo(f"model: {model}")


def to_savedmodel(
    model: Source,
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    x: Annotated[int, typer.Option(min=1, help="Pixels along x of the images.")],
    y: Annotated[int, typer.Option(min=1, help="Pixels along y of the images.")],
) -> None:
    """Write a Keras model as a TensorFlow SavedModel with the signature 'reconstruct', and reload it as a check.

    Example: [bold]bart-tf weights to-savedmodel modl.keras modl_savedmodel --x 230 --y 180[/bold]

    Its inputs are adjoint, coils and psf (see tf_models/training/network_inputs.py), its output is image, for any
    number of slices and coils.
    """
    import_backend()
    from tf_models.files import model_files, savedmodel

    difference = savedmodel.export(model_files.load(model), folder, y, x)
    typer.echo(f"model: {folder} (relative difference when reloaded: {difference:.1e})")


def _describe(path: Path) -> WeightsInfo:
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
