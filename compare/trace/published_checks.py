"""Check the published tables of what the GPU did: the checks of any figures, and those of claims in the text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from compare.results import published
from compare.trace import consistency
from compare.trace.consistency import Figure, Finding, Row, are_apart, by_row

PUBLISHED, EXPLANATIONS = "cuda.csv", "cuda_explanations.csv"
_OPTIMIZERS = ("adam", "admm", "ipalm", "sgd")
# Quantities whose value is a name.
_NAMES = ("lower_mean_time_than", "optimizer")
# Parameters of MoDL: 5 layers of 3x3 filters, biases, lambda, 10 scales of batch norm.
_COMPLEX_MODL = 9 * (32 + 3 * 32 * 32 + 32) + 4 * 32 + 1 + 1 + 10
# Of the original: the convolutions alone, everything else comes on top.
_REAL_MODL = 9 * (2 * 64 + 3 * 64 * 64 + 64 * 2)


def check_published() -> list[Finding]:
    """Check the published tables; each finding has its explanation.

    Raises:
        InputError: A file of published figures is missing or damaged.
    """
    explanations = {
        (row["check"], row["table"], row["network"], row["run"], row["item"]): row["explanation"]
        for row in csv.DictReader(io.StringIO(published.text(EXPLANATIONS), newline=""))
    }
    figures = [_figure_of_line(line) for line in csv.DictReader(io.StringIO(published.text(PUBLISHED), newline=""))]
    return [
        Finding(finding.check, finding.row, finding.message, explanations.get((finding.check, *finding.row), ""))
        for finding in _check(figures)
    ]


def _check(figures: list[Figure]) -> Iterator[Finding]:
    yield from consistency.check(figures)
    for check in (_peaks, _ratios, _parts_of_training, _claims, _parameters, _names):
        yield from check(figures)


def _figure_of_line(line: dict[str, str]) -> Figure:
    half_width = float(line["half_width"]) if line["half_width"] else None
    row = Row(line["table"], line["network"], line["run"], line["item"])
    return figure_of_text(row, line["quantity"], line["value"], line["unit"], half_width)


def figure_of_text(row: Row, quantity: str, text: str, unit: str, half_width: float | None = None) -> Figure:
    """Make a figure from what is printed: `58.0`, `<0.1`, or the name in a claim.

    Args:
        row: The row of its table.
        quantity: What it is.
        text: What is printed.
        unit: Its unit.
        half_width: The value is known to this, in the unit; by default to half a unit of the last digit.

    Raises:
        ValueError: It is no number, and no claim either.
    """
    if quantity in _NAMES:
        return Figure(row, quantity, 0.0, 0.0, text)
    if text.startswith("<"):
        high = float(text[1:]) * consistency.unit_scale(unit)
        return Figure(row, quantity, 0.0, high, consistency.text_with_unit(text, unit))
    if half_width is None:
        mantissa, _, exponent = text.lower().partition("e")
        half_width = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        # A count is exact.
        half_width = 0.0 if unit == "1" and "." not in text else half_width
    return consistency.figure(row, quantity, float(text), unit, half_width, text)


def _peaks(figures: list[Figure]) -> Iterator[Finding]:
    for row, quantities in by_row(figures).items():
        memory, peak = quantities.get("memory"), quantities.get("peak_memory")
        if memory and peak and peak.high < memory.low:
            yield Finding("peak >= level", row, f"the peak {peak.text} is below {memory.text}")


def _ratios(figures: list[Figure]) -> Iterator[Finding]:
    rows = by_row(figures)
    for row, quantities in rows.items():
        for quantity, ratio in quantities.items():
            if not quantity.endswith("_ratio"):
                continue
            networks = row.network.split("/")
            of_networks = [rows[row._replace(network=name)] for name in networks]
            above, below = (of_network[quantity.removesuffix("_ratio")] for of_network in of_networks)
            low, high = above.low / below.high, above.high / below.low
            if are_apart(low, high, ratio):
                message = f"{above.text} / {below.text} is {low:.3f} to {high:.3f}, printed {ratio.text}"
                yield Finding("ratio", row, message)


def _parts_of_training(figures: list[Figure]) -> Iterator[Finding]:
    for claim in figures:
        if claim.quantity != "share_of_training":
            continue
        same_place = [each for each in figures if each.row[1:] == claim.row[1:]]
        same_network = [each for each in figures if each.row.network == claim.row.network]
        part, whole = _first(same_place, "total_time"), _first(same_network, "training_time")
        if part and whole and are_apart(part.low / whole.high, part.high / whole.low, claim):
            percent = f"{100 * part.high / whole.high:.1f} %"
            message = f"said {claim.text}, {part.text} of {whole.text} is {percent}"
            yield Finding("share of training", claim.row, message)


def _first(figures: list[Figure], quantity: str) -> Figure | None:
    return next((each for each in figures if each.quantity == quantity), None)


def _claims(figures: list[Figure]) -> Iterator[Finding]:
    means = {each.row._replace(table=""): each for each in figures if each.quantity == "mean_time"}
    for claim in figures:
        if claim.quantity == "lower_mean_time_than":
            row = claim.row._replace(table="")
            ours, theirs = means[row], means[row._replace(run=claim.text)]
            if ours.low >= theirs.high:
                message = f"said to be lower than under {claim.text}, the table has {ours.text} against {theirs.text}"
                yield Finding("claim", claim.row, message)


def _parameters(figures: list[Figure]) -> Iterator[Finding]:
    """Count the parameters of the networks; their sizes are in `docs/rq.md`."""
    counts = {(each.row.network, each.quantity): each for each in figures if each.quantity.endswith("_parameters")}
    varnet = counts.get(("VarNet", "real_parameters"))
    for each in figures:
        if varnet and each.quantity == "filters" and each.row.network == "VarNet":
            count = 10 * (each.low * 11 * 11 * 2 + each.low * 31 + 1)
            if count != varnet.low:
                message = f"{each.text} filters make {count:.0f} parameters, not {varnet.text}"
                yield Finding("parameters", Row(each.row.table, "VarNet", "", ""), message)
    bart, original = (
        counts.get(("MoDL (BART)", "complex_parameters")),
        counts.get(("MoDL (original)", "real_parameters")),
    )
    if bart and bart.low != _COMPLEX_MODL:
        message = f"printed {bart.text}, {_COMPLEX_MODL}"
        yield Finding("parameters", Row(bart.row.table, bart.row.network, "", ""), message)
    if original and original.low < _REAL_MODL:
        message = f"printed {original.text}, the convolutions alone have {_REAL_MODL}"
        yield Finding("parameters", Row(original.row.table, original.row.network, "", ""), message)


def _names(figures: list[Figure]) -> Iterator[Finding]:
    for each in figures:
        if each.quantity == "optimizer" and each.text.lower() not in _OPTIMIZERS:
            yield Finding("name", each.row, f"'{each.text}' is none of {', '.join(_OPTIMIZERS)}")
