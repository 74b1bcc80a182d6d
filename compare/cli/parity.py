"""`bart-tf parity`: whether both engines compute the same."""

from __future__ import annotations

import typer

from compare.cli import options
from tf_models.quiet import import_backend


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(parity)


def parity(config: options.Config, bart: options.Bart = None) -> None:
    """Run both engines on the same weights and data and show how far they differ, stage by stage.

    Example: [bold]bart-tf parity configs/demo.yaml[/bold]

    The data are those of the experiment; the weights are random, none is 0. Exit code 1 if a stage differs by more than
    single precision explains.
    """
    from rich.console import Console
    from rich.table import Table

    from bart_bridge.toolbox import Toolbox
    from compare.config import load

    experiment = load(config)
    toolbox = Toolbox.find(bart)
    toolbox.require("reconet")
    import_backend()
    from compare.parity import TOLERANCE, stages

    table = Table("network", "stage", "relative difference", "allowed", title=f"BART {toolbox.version_text} and Keras")
    agreed = True
    for network, stage, difference in stages(experiment, toolbox):
        allowed = TOLERANCE[experiment.networks[network].network.kind]
        fine = difference <= allowed
        agreed = agreed and fine
        colour = "green" if fine else "red"
        table.add_row(network, stage, f"[{colour}]{difference:.1e}[/{colour}]", f"{allowed:.0e}")
    Console().print(table)
    if not agreed:
        raise typer.Exit(1)
