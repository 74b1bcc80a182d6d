"""Write settings as options of `bart reconet`; `bart_bridge.reconet.options` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bart_bridge.reconet.network_settings import Loss, ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.training_settings import IpalmRules, Training

# Value of a sub-option: empty for a flag, None to leave it out.
SubOption = str | float | Path | None


def network_options(network: Network) -> list[str]:
    """Return the options that describe a network."""
    block = f"F={network.filters},X={network.kernel_x},Y={network.kernel_y}"
    options = [f"--network={network.kind}", f"--iterations={network.iterations}"]
    if isinstance(network, VarNetSettings):
        options.append(f"--varnet-block={block},W={network.basis}")
    else:
        options.append(f"--resnet-block={block},L={network.layers}{_without(network)}")
    consistency = [network.data_consistency, f"max-cg-iter={network.max_cg_iterations}"]
    if network.fixed_lambda is not None:
        consistency.append(f"fix-lambda={network.fixed_lambda}")
    start = network.sense_initialization
    if start is not None:
        initial: dict[str, SubOption] = {
            "sense": "",
            "fix-lambda": start.fixed_lambda,
            "max-cg-iter": start.max_cg_iterations,
        }
        if start.initial_lambda is not None:
            # BART shares one lambda if both start at the same value, so name both values.
            initial |= {"fix-lambda": -1, "lambda-init": start.initial_lambda}
            consistency.append(f"lambda-init={network.initial_lambda:.9g}")
        options.append(f"--initial-reco={sub_options(initial)}")
    options.append("--data-consistency=" + ",".join(consistency))
    options.append("--shared-weights" if network.shared_weights else "--no-shared-weights")
    options.append("--shared-lambda" if network.shared_lambda else "--no-shared-lambda")
    return options + (["--normalize"] if network.normalize else [])


def _without(network: ModlSettings) -> str:
    return ("" if network.batch_norm else ",no-batch-normalization") + ("" if network.bias else ",no-bias")


def training_options(network: Network, training: Training, epochs: int, history: Path) -> list[str]:
    """Return the options that describe a training.

    Args:
        network: The network, which has a default loss.
        training: The training; `batch_size` is left to the caller, because it depends on the slices.
        epochs: Number of epochs, in place of those in `training`.
        history: Where the history goes.
    """
    # Every version trains VarNet with iPALM by default. Before `versions.NAMED_IPALM`, the name selects Adam.
    default_ipalm = training.algorithm == "ipalm" and network.kind == "varnet" and training.ipalm == IpalmRules()
    algorithm: dict[str, SubOption] = {
        **({} if default_ipalm else {training.algorithm: ""}),
        "learning-rate": training.learning_rate,
        "epochs": epochs,
        "export-history": history,
        "learning-rate-min": training.final_learning_rate,
        "cosine-annealing-mod": training.cosine_epochs,
        "epochs-warmup": training.warmup_epochs or None,
        "weight-decay": training.weight_decay or None,
        "clip-norm": training.clip_norm,
        "clip-value": training.clip_value,
        "batchnorm-momentum": training.batch_norm_momentum,
    }
    adam: dict[str, SubOption] = {
        "epsilon": training.adam.epsilon,
        "beta1": training.adam.beta_1,
        "beta2": training.adam.beta_2,
        "reset-momentum": training.adam.reset_epochs,
    }
    options = [f"--train-loss={sub_options(training.loss_weights(network))}", f"-T{sub_options(algorithm)}"]
    # BART takes the constants of Adam and iPALM from separate options.
    if training.algorithm == "adam":
        options.append(f"--adam={sub_options(adam)}")
    if training.algorithm == "ipalm" and not default_ipalm:
        options.append(f"--iPALM={sub_options(_ipalm(training.ipalm))}")
    return options


def _ipalm(rules: IpalmRules) -> dict[str, SubOption]:
    return {
        "L-min": rules.smallest,
        "L-max": rules.largest,
        "L-reduce": rules.reduce,
        "L-increase": rules.increase,
        "alpha": rules.alpha,
        "beta": rules.beta,
        "convex": "" if rules.step == "convex" else None,
        "non-trivial-step-size": None if rules.step == "trivial" else "",
        "no-momentum-reduction": None if rules.reduce_momentum else "",
    }


def sub_options(options: Mapping[str, SubOption] | Mapping[Loss, float]) -> str:
    """Format sub-options: `{"a": 1, "b": "", "c": None}` becomes `a=1,b`."""
    formatted = []
    for name, value in options.items():
        if value is not None:
            # Nine digits determine every single-precision number.
            text = f"{value:.9g}" if isinstance(value, float) else str(value)
            formatted.append(f"{name}={text}" if text else name)
    return ",".join(formatted)
