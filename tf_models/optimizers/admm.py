"""ADMM on weights: the loss acts on one copy of them, constraints and penalties on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.optimizers.arguments import LearningRate, check_count, check_number, check_rate, refuse
from tf_models.optimizers.proximal import Specification, check_specifications, proximal_maps

RESIDUALS = ("primal_residual", "dual_residual")
_UNSUPPORTED = ("weight_decay", "use_ema", "gradient_accumulation_steps")


@keras.saving.register_keras_serializable("bart_tf")
class ADMM(keras.optimizers.Optimizer):
    """Linearised stochastic alternating direction method of multipliers for min f(w) + g(z) subject to w = z.

    f is the training loss, of which only gradients G of batches are known; g is a penalty or the indicator of a set,
    known by its proximal map. With step size eta and scaled dual u, from z = w and u = 0:

    ```
    every step:     w <- (w - eta G + eta rho (z - u)) / (1 + eta rho)
    every m steps:  h = a w + (1 - a) z
                    z_new = prox_{g / rho}(h + u)
                    u <- u + h - z_new
                    z <- z_new
    ```

    The first line minimises <G, w> + |w - w_k|^2 / (2 eta) + rho / 2 |w - z + u|^2 exactly, so rho does not limit eta.
    For convex f and full batches, ADMM converges for eta <= 1 / L, L the Lipschitz constant of f's gradient, to a
    solution that does not depend on rho. Batches need a falling eta; for other f nothing is promised.

    During training the weights are w, which need not be feasible. `fit` assigns the feasible copy z to them at its end,
    `at_feasible_copy` for a while. The Keras constraint of a variable is its g: it keeps z in the set, not w.

    With `balancing`, rho of each variable follows its residuals: rho doubles where |w - z| is more than 10 times rho
    |z_new - z|, and halves in the opposite case.

    This is Boyd's splitting w = z of the weights with Ouyang's linearised step. It is not dlADMM (Wang 2019). That and
    Taylor (2016) split a network into layers with activations as variables, and solve for each in turn. Neither applies
    to an unrolled network: its layers share weights, and the conjugate gradients and radial-basis activations between
    them have no update in closed form.

    Args:
        learning_rate: float above 0 or a Keras schedule. eta. Defaults to `0.001`.
        rho: float above 0. Penalty of w - z, at the start if `balancing`. Defaults to `1.0`.
        relaxation: float in [1, 1.8]. a. Defaults to `1.0`.
        dual_interval: int, at least 1. m. Defaults to `1`.
        balancing: bool. Whether to adapt rho. Defaults to `False`.
        proximal: dict of specifications by the names of variables, see `tf_models.optimizers.proximal.proximal_map`. A
            variable without one uses the projection of its Keras constraint, or the identity. Defaults to `None`.
        **kwargs: Arguments of `keras.optimizers.Optimizer`, such as `clipnorm`. Weight decay, moving averages and
            gradient accumulation are not supported.

    Raises:
        ValueError: An argument is out of its range or not supported.

    Examples:
        The minimum of |w - (2, 0.3)|^2 / 2 + 0.5 |w|_1 is (1.5, 0):

        >>> import keras
        >>> from tf_models.optimizers.admm import ADMM
        >>> weights = keras.Variable([1.0, 1.0], name="w")
        >>> optimizer = ADMM(learning_rate=0.5, proximal={"w": ["l1", 0.5]})
        >>> for _ in range(50):
        ...     optimizer.apply([weights - [2.0, 0.3]], [weights])
        >>> optimizer.finalize_variable_values([weights])
        >>> keras.ops.convert_to_numpy(weights).round(3).tolist()
        [1.5, 0.0]

    References:
        - Boyd et al. (2011), doi 10.1561/2200000016, sections 3.1, 3.4.1 and 3.4.3.
        - Ouyang et al. (2013), Stochastic alternating direction method of multipliers, ICML.
        - Not used: Wang et al. (2019), doi 10.1145/3292500.3330936; Taylor et al. (2016), arXiv:1605.02026.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: float = 1.0,
        relaxation: float = 1.0,
        dual_interval: int = 1,
        balancing: bool = False,
        proximal: Mapping[str, Specification] | None = None,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        check_number("rho", rho, above=0)
        if not 1 <= relaxation <= 1.8:
            raise ValueError(f"`relaxation` must be in the range [1, 1.8]. Received: relaxation={relaxation}")
        check_count("dual_interval", dual_interval)
        refuse(_UNSUPPORTED, kwargs)
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.rho = rho
        self.relaxation = relaxation
        self.dual_interval = dual_interval
        self.balancing = balancing
        self.proximal = check_specifications(proximal)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state of each variable: z, u, rho and the squared residuals."""
        if self.built:
            return
        super().build(variables)
        self._proximal_maps = proximal_maps(variables, self.proximal)
        self._feasible_copy, self._dual = self.add_optimizer_variables(variables, ["feasible_copy", "dual"])
        constant = keras.initializers.Constant(self.rho)
        self._rho, self._primal_squares, self._dual_squares = (
            [
                self.add_variable((), initializer, dtype=variable.dtype, name=f"{variable.name}_{name}")
                for variable in variables
            ]
            for name, initializer in (("rho", constant), ("primal", "zeros"), ("dual", "zeros"))
        )

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Update the weights; their Keras constraints are left to z."""
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        if trainable_variables is not None:
            self.build(variables)  # here, where their constraints can still be seen
        constraints = [variable.constraint for variable in variables]
        try:
            for variable in variables:
                variable.constraint = None
            super().apply(grads, trainable_variables)
        finally:
            for variable, constraint in zip(variables, constraints, strict=True):
                variable.constraint = constraint

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Update one variable."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        gradient, eta = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        weights = ops.convert_to_tensor(variable)
        rho = ops.convert_to_tensor(self._rho[index])
        # Weights may have been set between `build` and the first step.
        feasible = ops.where(self.iterations > 0, ops.convert_to_tensor(self._feasible_copy[index]), weights)
        dual = ops.convert_to_tensor(self._dual[index])
        weights = (weights - eta * gradient + eta * rho * (feasible - dual)) / (1 + eta * rho)
        self.assign(variable, weights)
        relaxed = self.relaxation * weights + (1 - self.relaxation) * feasible
        new_feasible = self._proximal_maps[index](relaxed + dual, 1 / rho)
        new_dual = dual + relaxed - new_feasible
        primal_square = ops.sum(ops.square(weights - new_feasible))
        dual_square = ops.square(rho) * ops.sum(ops.square(new_feasible - feasible))
        factor = self._balance(rho, primal_square, dual_square)
        # Between the steps of z only w moves.
        due = (self.iterations + 1) % self.dual_interval == 0
        for state, new, old in (
            (self._feasible_copy, new_feasible, feasible),
            (self._dual, new_dual / factor, dual),
            (self._rho, rho * factor, rho),
            (self._primal_squares, primal_square, self._primal_squares[index]),
            (self._dual_squares, dual_square, self._dual_squares[index]),
        ):
            self.assign(state[index], ops.where(due, new, ops.convert_to_tensor(old)))

    def _balance(self, rho: Tensor, primal_square: Tensor, dual_square: Tensor) -> Tensor:
        """Return what rho is multiplied by; Boyd et al. (2011), equation 3.13."""
        factor = ops.ones_like(rho)
        if not self.balancing:
            return factor
        halved_or_kept = ops.where(dual_square > 100 * primal_square, factor / 2, factor)
        return ops.where(primal_square > 100 * dual_square, 2 * factor, halved_or_kept)

    def residuals(self) -> dict[str, float]:
        """Return the residuals of the last step of z, l2 norms over all weights.

        Returns:
            `primal_residual` |w - z_new| and `dual_residual` rho |z_new - z|.
        """
        squares = dict(zip(RESIDUALS, (self._primal_squares, self._dual_squares), strict=True))
        return {
            name: float(sum(ops.convert_to_numpy(square) for square in values)) ** 0.5
            for name, values in squares.items()
        }

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        """Assign z to the weights; `fit` does so at its end."""
        if self.built and int(ops.convert_to_numpy(self._iterations)):
            for variable in var_list:
                # A copy: JAX gives the memory of weights away with every step, and z must not go with it.
                variable.assign(ops.copy(self._feasible_copy[self._get_variable_index(variable)]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        names = ("rho", "relaxation", "dual_interval", "balancing")
        arguments = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **arguments, "proximal": dict(self.proximal)}


def find_admm(model: keras.Model) -> ADMM | None:
    """Return the `ADMM` that a model trains with, also if its loss is scaled, or None."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return optimizer if isinstance(optimizer, ADMM) else None


@contextmanager
def at_feasible_copy(model: keras.Model) -> Iterator[None]:
    """Let the weights of a model that trains with `ADMM` be z in this context; does nothing for other optimizers."""
    optimizer, variables = find_admm(model), model.trainable_variables
    if optimizer is None:
        yield
        return
    weights = [ops.convert_to_numpy(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
