"""Which network is trained: the options of `bart reconet` that both engines understand, with BART's defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

# `plain` keeps everything that training needs, `lean` little, and computes it again: BART's `--lowmem`.
MemoryPlan = Literal["plain", "lean"]
# Of the regularizer's convolutions and what lies between them; everything else is float32.
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Loss = Literal["mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim"]


class Settings(BaseModel):
    """Base of all settings: they do not change, and have no unknown keys, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SenseInitialization(Settings):
    """Start from (A^H A + lambda)^-1 A^H y by conjugate gradients instead of from A^H y.

    Lambda is that of the network for proximal mapping, and 0 for gradient steps, if neither of the two below is given.
    It is trained as a weight of its own, not as the network's, with an `initial_lambda`, and where a network with
    proximal mapping has a lambda for each iteration or another number of conjugate gradient steps.

    Attributes:
        fixed_lambda: Regularization that is not trained.
        initial_lambda: Value at which a trained lambda of its own starts. If it is the network's value, and neither of
            the two reasons above is there, both are one weight with proximal mapping, as in BART.
        max_cg_iterations: Steps. By default the network's for proximal mapping, and 30 for gradient steps.
    """

    fixed_lambda: float | None = None
    initial_lambda: float | None = None
    max_cg_iterations: PositiveInt | None = None

    @model_validator(mode="after")
    def _fixed_or_trained(self) -> SenseInitialization:
        if self.fixed_lambda is not None and self.initial_lambda is not None:
            raise ValueError("give a fixed_lambda or an initial_lambda, which is trained, not both")
        return self


class NetworkSettings(Settings):
    """What both networks have.

    Attributes:
        iterations: Unrolled iterations, T.
        normalize: Divide the data of each slice by the maximum magnitude of its initial image, and multiply the result
            by it (default). The training loss is that of the divided images.
        max_cg_iterations: Conjugate gradient steps of a proximal mapping (default 10).
        fixed_lambda: Weight of the data term that is not trained; trained by default.
        cg_derivative: `implicit` as in BART, or `unrolled`, for comparison, which BART does not have.
        sense_initialization: Initial image of regularized SENSE; by default it is A^H y.
        rss_norm: Multiply reconstructions, not those of training, by the root sum of squares of the coil sensitivities.
    """

    iterations: PositiveInt = 10
    normalize: bool = True
    max_cg_iterations: PositiveInt = 10
    fixed_lambda: float | None = None
    cg_derivative: Literal["implicit", "unrolled"] = "implicit"
    sense_initialization: SenseInitialization | None = None
    rss_norm: bool = False
    data_consistency: Literal["gradient-step", "proximal-mapping"]
    shared_lambda: bool
    initial_lambda: float

    def initial_solver(self) -> tuple[float | None, int]:
        """Return lambda of the SENSE initialization, None for a trained one, and its steps."""
        chosen = self.sense_initialization or SenseInitialization()
        proximal = self.data_consistency == "proximal-mapping"
        steps = chosen.max_cg_iterations or (self.max_cg_iterations if proximal else 30)
        if chosen.fixed_lambda is not None or chosen.initial_lambda is not None:
            return chosen.fixed_lambda, steps
        return (self.fixed_lambda if proximal else 0.0), steps

    def start_of_own_lambda(self) -> float | None:
        """Return where a lambda of the SENSE initialization's own starts; None if it has none."""
        chosen = self.sense_initialization
        fixed_lambda, steps = self.initial_solver()
        if chosen is None or fixed_lambda is not None:
            return None
        start = self.initial_lambda if chosen.initial_lambda is None else chosen.initial_lambda
        could_share = self.data_consistency == "proximal-mapping" and self.fixed_lambda is None and self.shared_lambda
        same = steps == self.max_cg_iterations and start == self.initial_lambda
        return None if could_share and same else start


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
