"""`bart-tf parity`: how far Keras is from BART."""

from __future__ import annotations

import typer

from compare.cli import options
from tf_models.backend.quiet import import_backend


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(parity)


def parity(config: options.Config, bart: options.Bart = None) -> None:
    """Run both engines on the same weights and data, and show how far they differ at each stage.

    Example: [bold]bart-tf parity configs/demo.yaml[/bold]

    BART runs three times: on the data of the experiment, and on two copies that
    differ in the last bit. Keras may be three times as far from BART as BART is
    from itself. If a stage differs by more, the exit code is 1.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    from bart_bridge.tools.blas import blas_of
    from bart_bridge.tools.toolbox import Toolbox
    from compare.settings.experiment import load

    experiment = load(config)
    toolbox = Toolbox.find(bart)
    toolbox.require("reconet")
    import_backend()
    from compare.parity import stages

    columns = ("network", "stage", "Keras to BART", "BART to itself", "allowed")
    table = Table(*columns, title=f"BART {toolbox.version_text} ({blas_of(toolbox)}) and Keras: relative differences")
    agreed = True
    console = Console()
    with Live(table, console=console):
        for stage in stages(experiment, toolbox):
            agreed = agreed and stage.agrees
            colour = "green" if stage.agrees else "red"
            difference = f"[{colour}]{stage.difference:.1e}[/{colour}]"
            table.add_row(stage.network, stage.name, difference, f"{stage.bart_difference:.1e}", f"{stage.allowed:.1e}")
    if not console.is_terminal:
        console.line()  # rich omits the last line end there
    if not agreed:
        raise typer.Exit(1)
