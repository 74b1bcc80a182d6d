"""Settings of a training: the options of `bart reconet` that both engines support, with BART's defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from bart_bridge.errors import InputError
from bart_bridge.reconet.network_settings import Loss, Network, Precision, Settings
from bart_bridge.wording import counted


class AdamSettings(Settings):
    """The constants of `reconet --adam`; see `tf_models.optimizers.adam.Adam`.

    Attributes:
        epsilon: Added to the root of the second moment (default 1e-7).
        beta_1: Decay rate of the first moment, at least 0 and below 1 (default 0.9).
        beta_2: Decay rate of the second moment, at least 0 and below 1 (default 0.999).
        reset_epochs: Reset both moments after this number of epochs; by default they are never reset.
    """

    epsilon: PositiveFloat = 1e-7
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    reset_epochs: PositiveInt | None = None


class AdmmSettings(Settings):
    """The constants of ADMM, which BART does not have; see `tf_models.optimizers.admm.ADMM`.

    Attributes:
        rho: Penalty of the splitting (default 1).
        relaxation: Over-relaxation, from 1 (default) to 1.8.
        dual_interval: Weight updates per update of the dual variable (default 1).
        balancing: Adapt rho to the primal and dual residuals (default false).
    """

    rho: PositiveFloat = 1.0
    relaxation: float = Field(default=1.0, ge=1, le=1.8)
    dual_interval: PositiveInt = 1
    balancing: bool = False


class IpalmRules(Settings):
    """The constants of `reconet --iPALM`, with BART's defaults; see `tf_models.optimizers.ipalm_rules.Rules`.

    Attributes:
        alpha, beta: Inertia of the step and of the point of its gradient, at least 0 (default k / (k + 3) in update k).
        increase: Factor of the Lipschitz estimate L after a rejected step, above 1 (default 2).
        reduce: Divisor of L after an accepted step, at least 1 (default 1.2).
        smallest, largest: Limits of L (default 1e-10 and 1e10).
        reduce_momentum: Halve the inertia after a rejected step (default true).
        step: `trivial` (default) is 1 / L; `nonconvex` and `convex` depend on alpha and beta.
    """

    alpha: float | None = Field(default=None, ge=0)
    beta: float | None = Field(default=None, ge=0)
    increase: float = Field(default=2.0, gt=1)
    reduce: float = Field(default=1.2, ge=1)
    smallest: PositiveFloat = 1e-10
    largest: PositiveFloat = 1e10
    reduce_momentum: bool = True
    step: Literal["trivial", "nonconvex", "convex"] = "trivial"

    @model_validator(mode="after")
    def _finite_steps(self) -> IpalmRules:
        if self.smallest > self.largest:
            raise ValueError(f"smallest must be at most largest, received {self.smallest:g} and {self.largest:g}")
        limit = {"nonconvex": 0.5, "convex": 1.0}.get(self.step)
        if limit and self.alpha is not None and self.alpha >= limit:
            raise ValueError(f"alpha must be below {limit:g} for the step '{self.step}', received {self.alpha:g}")
        return self


class Training(Settings):
    """How a network is trained, with BART's rules.

    The keys of version 0.2.0, such as `adam_beta_1` for `beta_1` of `adam`, are accepted too.

    Attributes:
        algorithm: `adam` (default), `sgd`, `ipalm`, or `admm`, which BART does not support.
        learning_rate: Step size (default 0.001). iPALM adapts it and takes this as its first step (default 1).
        final_learning_rate: Reduce the step size to this value, exponentially over all epochs, or as a cosine. Default:
            it is constant.
        cosine_epochs: Period of the cosine in epochs, at least 2; requires `final_learning_rate`.
        warmup_epochs: Epochs in which the step size grows linearly from 0, before any other schedule (default 0).
        weight_decay: Divide weights without a constraint by 1 + learning_rate * weight_decay after each update
            (default 0).
        clip_norm, clip_value: Clip the gradient of each array as `reconet` does; see
            `tf_models.optimizers.bart_modifiers.clip_gradient`. Default: no clipping.
        adam: Constants of Adam.
        ipalm: Rules of iPALM.
        admm: Constants of ADMM.
        batch_norm_momentum: Weight of the old statistics in an update, 0 to 1 (default 0.95).
        batch_size: Slices per update (default 10). As in BART, an incomplete last batch is dropped.
        epochs: Passes over the training slices (default 10).
        pretraining_epochs: Passes over the training slices with one unrolled iteration. The full network then starts
            from these weights, as in BART's two stages for MoDL (default 0).
        loss: A loss, or several losses with their weights. Default: `mse-magnitude` for VarNet and `mse` for MoDL.
        precision: Precision of Keras engines, see `tf_models.networks.unrolled.UnrolledNetwork` (default `float32`).
            BART always computes in single precision.
    """

    algorithm: Literal["adam", "sgd", "ipalm", "admm"] = "adam"
    learning_rate: PositiveFloat = 0.001
    final_learning_rate: PositiveFloat | None = None
    cosine_epochs: int | None = Field(None, ge=2)
    warmup_epochs: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: PositiveFloat | None = None
    clip_value: PositiveFloat | None = None
    adam: AdamSettings = AdamSettings()
    ipalm: IpalmRules = IpalmRules()
    admm: AdmmSettings = AdmmSettings()
    batch_norm_momentum: float = Field(0.95, ge=0, le=1)
    batch_size: PositiveInt = 10
    epochs: PositiveInt = 10
    pretraining_epochs: int = Field(0, ge=0)
    loss: Loss | dict[Loss, float] | None = None
    precision: Precision = "float32"

    @model_validator(mode="before")
    @classmethod
    def _nested_with_default_step(cls, values: object) -> object:
        """Nest the keys of version 0.2.0, and set the first step of iPALM."""
        if not isinstance(values, Mapping):
            return values
        values = nested(values)
        return {"learning_rate": 1.0, **values} if values.get("algorithm") == "ipalm" else values

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore a pickled training; version 0.2.0 pickled flat keys."""
        values = nested(state["__dict__"])
        for name, settings in _ONCE_FLAT.items():
            values[name] = settings.model_validate(values[name])
        fields_set = set(nested(dict.fromkeys(state["__pydantic_fields_set__"])))
        super().__setstate__({**state, "__dict__": values, "__pydantic_fields_set__": fields_set})

    @model_validator(mode="after")
    def _ipalm_adapts_its_step(self) -> Training:
        """Reject what BART ignores with iPALM (schedules) or computes with tau instead of the step (weight decay)."""
        scheduled = self.final_learning_rate is not None or self.warmup_epochs
        modified = self.weight_decay or self.clip_norm is not None or self.clip_value is not None
        if self.algorithm == "ipalm" and (scheduled or modified):
            raise ValueError("ipalm has no learning-rate schedule, weight_decay or clipping")
        if self.algorithm == "ipalm" and self.precision == "mixed_float16":
            raise ValueError("ipalm compares losses, which mixed_float16 scales; take float32 or mixed_bfloat16")
        if self.algorithm == "admm" and modified:
            raise ValueError("admm has no weight_decay or clipping")
        return self

    @model_validator(mode="after")
    def _schedule_is_possible(self) -> Training:
        if self.cosine_epochs and self.final_learning_rate is None:
            raise ValueError("cosine_epochs needs a final_learning_rate")
        shortest = min(self.epochs, self.pretraining_epochs or self.epochs)
        if self.warmup_epochs > shortest:
            raise ValueError(f"warmup_epochs must be at most the epochs of a stage, {shortest}")
        return self

    def loss_weights(self, network: Network) -> dict[Loss, float]:
        """Return the weight of each loss in the training of a network."""
        loss = self.loss or network.default_loss
        return loss if isinstance(loss, dict) else {loss: 1.0}

    def flat(self) -> dict[str, Any]:
        """Return the settings as JSON with the keys of version 0.2.0, such as `adam_beta_1`.

        Records and checkpoints identify a training by these keys, so that those of version 0.2.0 stay valid.
        """
        values = self.model_dump(mode="json")
        for block in _ONCE_FLAT:
            values |= {f"{block}_{name}": value for name, value in values.pop(block).items()}
        return values


# Until version 0.2.0 the settings in these blocks were keys of `Training`, such as `adam_beta_1`.
_ONCE_FLAT: dict[str, type[Settings]] = {"adam": AdamSettings, "admm": AdmmSettings}
# The blocks of settings that belong to one algorithm, by its name.
BLOCKS = (*_ONCE_FLAT, "ipalm")


def nested(values: Mapping[str, object]) -> dict[str, object]:
    """Move the flat keys of version 0.2.0 into the blocks of their algorithms: `adam_beta_1` to `beta_1` of `adam`.

    Raises:
        ValueError: Both forms of a key are given.
    """
    result = dict(values)
    for block, settings in _ONCE_FLAT.items():
        flat = {name: result.pop(f"{block}_{name}") for name in settings.model_fields if f"{block}_{name}" in result}
        inner = result.get(block, {})
        if isinstance(inner, settings):
            inner = inner.model_dump(exclude_unset=True)
        if not flat or not isinstance(inner, Mapping):
            continue  # validation of the block refuses any other type
        for name in flat:
            if name in inner:
                raise ValueError(f"{block}.{name} and {block}_{name} are the same setting, give one of them")
        result[block] = {**inner, **flat}
    return result


def merged(common: Mapping[str, object], special: Mapping[str, object]) -> dict[str, object]:
    """Replace settings by more special ones, key by key also within the blocks of algorithms.

    Raises:
        ValueError: Both forms of a key are given, or a block is none.
    """
    common, special = nested(common), nested(special)
    result = {**common, **special}
    for block in BLOCKS:
        general, specific = common.get(block, {}), special.get(block, {})
        if not isinstance(general, Mapping) or not isinstance(specific, Mapping):
            raise ValueError(f"{block}: must be a block of keys")
        if general or specific:
            result[block] = {**general, **specific}
    return result


def dotted(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a training with the blocks of algorithms opened: `adam.beta_1` for `beta_1` of `adam`."""
    for name, value in values.items():
        if name in BLOCKS and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", inner_value) for inner, inner_value in value.items())
        else:
            yield name, value


def check_shared(training: Training, batch_size: int, devices: int) -> None:
    """Check that several devices can share a training.

    Args:
        training: The training.
        batch_size: Slices per batch.
        devices: Number of devices that share every batch.

    Raises:
        InputError: They cannot; the message has the reason.
    """
    if devices > 1 and training.algorithm == "ipalm":
        raise InputError(
            f"devices: ipalm trains on one device, received {devices}: it updates one array at a time, and repeats "
            "each step until the loss of the whole batch is low enough"
        )
    if batch_size % devices:
        raise InputError(
            f"devices: a batch of {counted(batch_size, 'slice')} cannot be shared evenly by {devices} devices"
        )


def stages(network: Network, training: Training) -> list[tuple[Network, int]]:
    """Return the networks that are trained in turn, each with its number of epochs."""
    single = network.model_copy(update={"iterations": 1})
    pretraining = [(single, training.pretraining_epochs)] if training.pretraining_epochs else []
    return [*pretraining, (network, training.epochs)]
