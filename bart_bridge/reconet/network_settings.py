"""Settings of the two networks: the options of `bart reconet` that both engines support, with BART's defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

# `plain` stores all activations for backpropagation. `lean` stores one image per iteration and recomputes the rest,
# as BART's `--lowmem` does.
MemoryPlan = Literal["plain", "lean"]
# Of the regularizer's convolutions and activations; everything else is float32.
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
Loss = Literal["mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim"]


class Settings(BaseModel):
    """Base of all settings. They are frozen; unknown keys, NaN and infinity are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore pickled settings; those of earlier versions have the defaults of what came later."""
        later = {name: field for name, field in type(self).model_fields.items() if name not in state["__dict__"]}
        defaults = {name: field.get_default(call_default_factory=True) for name, field in later.items()}
        super().__setstate__({**state, "__dict__": defaults | state["__dict__"]})


class SenseInitialization(Settings):
    """Start from the SENSE image (A^H A + lambda)^-1 A^H y, computed by conjugate gradients, instead of from A^H y.

    If neither lambda is given here, proximal mapping uses the network's lambda, and gradient steps use 0.

    With proximal mapping, BART trains one lambda for both the network and its initialization if the network shares one
    lambda among all iterations, and if both lambdas start at the same value and use the same `max_cg_iterations`.
    Otherwise a trained lambda of the initialization is a separate weight, `lambda_init`.

    Attributes:
        fixed_lambda: Regularization that is not trained; excludes `initial_lambda`.
        initial_lambda: Start value of a trained lambda.
        max_cg_iterations: Conjugate gradient steps. Default: those of the network for proximal mapping, and 30 for
            gradient steps.
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
    """Settings of both networks.

    Attributes:
        iterations: Number of unrolled iterations, T (default 10).
        normalize: Divide the data of each slice by the maximum magnitude of its initial image, and multiply the result
            by it (default true). The training loss compares the divided images.
        max_cg_iterations: Conjugate gradient steps of a proximal mapping (default 10).
        fixed_lambda: Weight of the data term that is not trained. Default: it is trained.
        cg_derivative: `implicit` (default) as in BART, or `unrolled` for comparison, which BART does not support.
        sense_initialization: Start from a regularized SENSE image. Default: start from A^H y.
        rss_norm: Multiply reconstructions by the root sum of squares of the coil sensitivities, except in training
            (default false).
        data_consistency: `gradient-step` or `proximal-mapping`.
        shared_lambda: Share one lambda among all iterations.
        initial_lambda: Start value of a trained lambda.
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
        """Return lambda of the SENSE initialization, which is None if it is trained, and the number of CG steps."""
        start = self.sense_initialization or SenseInitialization()
        proximal = self.data_consistency == "proximal-mapping"
        steps = start.max_cg_iterations or (self.max_cg_iterations if proximal else 30)
        if start.fixed_lambda is not None or start.initial_lambda is not None:
            return start.fixed_lambda, steps
        return (self.fixed_lambda if proximal else 0.0), steps

    def separate_initial_lambda(self) -> float | None:
        """Return the start value of `lambda_init`, the separate lambda of the initialization; None without one."""
        initialization = self.sense_initialization
        fixed_lambda, steps = self.initial_solver()
        if initialization is None or fixed_lambda is not None:
            return None
        start = self.initial_lambda if initialization.initial_lambda is None else initialization.initial_lambda
        could_share = self.data_consistency == "proximal-mapping" and self.fixed_lambda is None and self.shared_lambda
        same = steps == self.max_cg_iterations and start == self.initial_lambda
        return None if could_share and same else start


class VarNetSettings(NetworkSettings):
    """The variational network of Hammernik et al. (2018), doi 10.1002/mrm.26977, as BART computes it.

    Attributes:
        filters: Number of complex filters per iteration, F (default 24).
        kernel_x, kernel_y: Size of a filter in pixels (default 11).
        basis: Number of Gaussian radial basis functions per activation on [-1, 1], W, at least 2 (default 31).
        shared_weights: Share filters and activations among all iterations (default false).
        shared_lambda: Share one lambda among all iterations (default false).
        data_consistency: `gradient-step` (default) or `proximal-mapping`.
        initial_lambda: Start value of lambda (default 0.2).
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
        """The loss that `reconet` minimizes by default."""
        return "mse-magnitude"


class ModlSettings(NetworkSettings):
    """Model-based deep learning of Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, as BART computes it.

    Attributes:
        layers: Number of convolutions in the residual block, L, at least 3 (default 5).
        filters: Complex filters of each convolution except the last, F (default 32).
        kernel_x, kernel_y: Size of a filter in pixels, odd (default 3).
        batch_norm: Normalize the output of every convolution (default true).
        bias: Add a bias after every convolution (default true).
        shared_weights: Share the convolutions among all iterations (default true). Every iteration keeps batch norm
            statistics of its own.
        shared_lambda: Share one lambda among all iterations (default true).
        data_consistency: `gradient-step` or `proximal-mapping` (default).
        initial_lambda: Start value of lambda (default 0.05).
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
        """The loss that `reconet` minimizes by default."""
        return "mse"


Network = Annotated[VarNetSettings | ModlSettings, Field(discriminator="kind")]
