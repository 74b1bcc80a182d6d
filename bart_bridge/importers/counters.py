"""Options that choose a repetition, average, contrast, set or phase by its number; `average` averages them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bart_bridge.errors import InputError

AVERAGE = "average"
# Other contrasts and sets show something else, so their average is no image.
_AVERAGED = ("average", "repetition")


def choose(counter: str, choice: str | None, numbers: Iterable[int], path: Path) -> list[int]:
    """Return which values of a counter the import uses; those that stay are averaged.

    Args:
        counter: `repetition`, `average`, `contrast`, `set` or `phase`, which is also the name of the option.
        choice: A number, or for repetitions and averages also `average`. None was not given: the source must have one
            value, except for `average`, whose default is to average.
        numbers: Values of the counter in the source.
        path: The file, for messages.

    Raises:
        InputError: The choice has another form or is not in the source, or the source needs one.
    """
    available = sorted(set(numbers))
    listed = ", ".join(map(str, available[:8])) + (", ..." if len(available) > 8 else "")
    may_average = counter in _AVERAGED
    if choice is None and (len(available) == 1 or counter == AVERAGE):
        return available
    if choice is None:
        advice = f", or --{counter} {AVERAGE}" if may_average else ""
        raise InputError(
            f"{path}: it has {len(available)} {counter}s ({listed}); choose one, such as --{counter} "
            f"{available[0]}{advice}"
        )
    if choice == AVERAGE and may_average:
        return available
    if not (choice.isascii() and choice.isdigit() and len(choice) < 10):
        rule = f"a number or '{AVERAGE}'" if may_average else "a number"
        raise InputError(f"--{counter} must be {rule}, received '{choice}'")
    if int(choice) not in available:
        raise InputError(f"{path}: there is no {counter} {int(choice)} (found: {listed})")
    return [int(choice)]
