"""What is trained and how: the options of `bart reconet` that both engines understand, with BART's defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Loss = Literal["mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim"]


class NetworkSettings(BaseModel):
    """What both networks have.

    Attributes:
        iterations: Unrolled iterations, T.
        normalize: Divide the data of each slice by the maximum magnitude of its initial image, and multiply the result
            by it (default). The training loss is that of the divided images.
        max_cg_iterations: Conjugate gradient steps of a proximal mapping (default 10).
        fixed_lambda: Weight of the data term that is not trained; trained by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iterations: PositiveInt = 10
    normalize: bool = True
    max_cg_iterations: PositiveInt = 10
    fixed_lambda: float | None = None


class VarNetSettings(NetworkSettings):
    """The variational network of Hammernik et al. (2018), doi 10.1002/mrm.26977, as BART computes it.

    Attributes:
        filters: Complex filters of each iteration, F.
        kernel_x, kernel_y: Size of a filter in pixels.
        basis: Gaussian radial basis functions of each activation on [-1, 1], W.
        shared_weights, shared_lambda: One set of filters and activations, or one lambda, for all iterations.
        data_consistency: `gradient-step` or `proximal-mapping`.
        initial_lambda: Value lambda starts at.
    """

    kind: Literal["varnet"] = "varnet"
    filters: PositiveInt = 24
    kernel_x: PositiveInt = 11
    kernel_y: PositiveInt = 11
    basis: int = Field(31, ge=2)
    shared_weights: bool = False
    shared_lambda: bool = False
    data_consistency: Literal["gradient-step", "proximal-mapping"] = "gradient-step"
    initial_lambda: float = 0.2

    @property
    def default_loss(self) -> Loss:
        """The loss `reconet` minimises where none is named."""
        return "mse-magnitude"


class ModlSettings(NetworkSettings):
    """Model-based deep learning of Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, as BART computes it.

    Attributes:
        layers: Convolutions of the residual block, at least 3, L.
        filters: Complex filters of each convolution but the last, F.
        kernel_x, kernel_y: Size of a filter in pixels, odd.
        batch_norm: Normalise the output of every convolution.
        bias: Add a bias after every convolution.
        shared_weights, shared_lambda: One set of convolutions, or one lambda, for all iterations. Batch norm statistics
            are always kept for each iteration.
        data_consistency: `gradient-step` or `proximal-mapping`.
        initial_lambda: Value lambda starts at.
    """

    kind: Literal["modl"] = "modl"
    layers: int = Field(5, ge=3)
    filters: PositiveInt = 32
    kernel_x: int = Field(3, ge=1)
    kernel_y: int = Field(3, ge=1)
    batch_norm: bool = True
    bias: bool = True
    shared_weights: bool = True
    shared_lambda: bool = True
    data_consistency: Literal["gradient-step", "proximal-mapping"] = "proximal-mapping"
    initial_lambda: float = 0.05

    @model_validator(mode="after")
    def _odd_kernels(self) -> ModlSettings:
        if self.kernel_x % 2 == 0 or self.kernel_y % 2 == 0:
            raise ValueError(f"kernel sizes must be odd, received {self.kernel_x} x {self.kernel_y}")
        return self

    @property
    def default_loss(self) -> Loss:
        """The loss `reconet` minimises where none is named."""
        return "mse"


Network = Annotated[VarNetSettings | ModlSettings, Field(discriminator="kind")]


class Training(BaseModel):
    """How a network is trained.

    Attributes:
        algorithm: `adam` or `sgd`.
        learning_rate: Step size (default 0.001).
        batch_size: Slices per update (default 10); a remainder of the slices is left out, as in BART.
        epochs: Passes over the training slices.
        pretraining_epochs: Passes with one unrolled iteration before that, from whose weights the network with all of
            its iterations starts: BART's two stages for MoDL (default 0).
        loss: What is minimised; by default `mse-magnitude` for VarNet and `mse` for MoDL.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["adam", "sgd"] = "adam"
    learning_rate: PositiveFloat = 0.001
    batch_size: PositiveInt = 10
    epochs: PositiveInt = 10
    pretraining_epochs: int = Field(0, ge=0)
    loss: Loss | None = None


def stages(network: Network, training: Training) -> list[tuple[Network, int]]:
    """Return the networks that are trained one after the other, each with its number of epochs."""
    single = network.model_copy(update={"iterations": 1})
    pretraining = [(single, training.pretraining_epochs)] if training.pretraining_epochs else []
    return [*pretraining, (network, training.epochs)]
