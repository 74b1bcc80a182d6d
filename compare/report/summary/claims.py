"""What came out, in a sentence each: the same quality or not, how much faster, how much memory."""

from __future__ import annotations

from dataclasses import dataclass

from compare.report.summary.comparison import Comparison
from compare.report.tables.relative import three_digits
from compare.report.tables.seeds import three_digits_or_exponent
from compare.results import statistics
from compare.results.run_states import Key

# Of more engines than these only the number is said; the table names them.
_NAMED = 2
_FASTEST = "fastest"
_VERDICTS = {
    statistics.SAME: "the same",
    statistics.BETTER: "better",
    statistics.WORSE: "worse",
    statistics.UNDECIDED: "undecided",
    statistics.TOO_FEW: f"not judged on fewer than {statistics.FEWEST_SLICES} slices",
}


@dataclass(frozen=True)
class Claim:
    """A sentence about the engines.

    Attributes:
        subject: What it is about, a word.
        text: The sentence.
        target: Name of the table that its numbers are from.
        condition: What the numbers depend on; empty for nothing in particular.
    """

    subject: str
    text: str
    target: str
    condition: str = ""


def claims(comparison: Comparison) -> list[Claim]:
    """Say what came out; nothing of what was not measured on two engines."""
    made = [
        Claim("Quality", _quality(comparison), "paired", _seeds(comparison)),
        _speed(comparison),
        _memory(comparison),
    ]
    return [claim for claim in made if claim.text]


def _quality(comparison: Comparison) -> str:
    """Name the runs by verdict, each with its difference of PSNR unless there are many."""
    parts: list[str] = []
    for verdict, wording in _VERDICTS.items():
        judged = {key: each for key, each in comparison.psnr.items() if statistics.judge_psnr(each) == verdict}
        names: list[str] = []
        for network in comparison.networks:
            engines = {engine: each for (name, engine), each in judged.items() if name == network}
            explained = verdict != statistics.TOO_FEW and not parts and not names
            names += _judged_engines(comparison, network, engines, explained)
        if judged:
            listed = _listed(names)
            # Of a single engine and network, only the numbers in brackets follow.
            parts.append(f"{wording} {'' if listed.startswith('(') else 'for '}{listed}" if listed else wording)
    one = comparison.others[0] if len(comparison.others) == 1 else ""
    return f"{one} against {comparison.base}: {', '.join(parts)}".strip() if parts else ""


def _seeds(comparison: Comparison) -> str:
    """Say how far engines and seeds are apart: where seeds are further, no engine is better.

    Of several engines, the one that is said is furthest from the base in relation to its own seeds.
    """
    parts = []
    for first in dict.fromkeys(network for network, _ in comparison.seed_scales):
        scales = {engine: scale for (name, engine), scale in comparison.seed_scales.items() if name == first}
        engine, scale = max(scales.items(), key=lambda item: item[1].engines - item[1].seeds)
        engines, seeds = three_digits_or_exponent(scale.engines), three_digits_or_exponent(scale.seeds)
        parts.append(
            f"{', '.join(scale.networks)}: the mean differs by up to {engines} dB between {engine} and "
            f"{comparison.base}, by up to {seeds} dB between seeds"
        )
    return "; ".join(parts)


def _judged_engines(
    comparison: Comparison, network: str, engines: dict[str, statistics.Difference], explained: bool
) -> list[str]:
    """Name the engines with one verdict for a network, with the numbers of a few; nothing where all are meant."""
    others = len(comparison.others_of(network))
    of_network = network if len(comparison.networks) > 1 else ""
    if not engines:
        return []
    if len(engines) > _NAMED or (others > 1 and len(engines) == others):
        every = "both" if others == 2 else f"all {others}"
        if others < len(comparison.others):
            every += " of its"
        count = every if len(engines) == others else f"{len(engines)} of {others}"
        return [" on ".join(filter(None, [of_network, f"{count} engines"]))]
    names: list[str] = []
    for engine, difference in engines.items():
        run = " on ".join(filter(None, [of_network, engine if len(comparison.others) > 1 else ""]))
        names.append(" ".join(filter(None, [run, _decibels(difference, explained and not names)])))
    return names


def _speed(comparison: Comparison) -> Claim:
    base = comparison.base
    parts: list[str] = []
    used: list[statistics.Ratio] = []
    for phase, metric, wording in (
        ("train", "epoch", "an epoch of training"),
        ("infer", "inference", "reconstructing a slice"),
    ):
        ratios = {key: ratio.inverse for key, ratio in _ratios(comparison, phase, metric).items()}
        if text := _factors(comparison, ratios, _FASTEST):
            parts.append(f"{text} as fast {f'as {base} ' * (not parts)}in {wording}")
            used += ratios.values()
    verb = "are" if len(comparison.others) > 1 else "is"
    text = f"{_others(comparison)} {verb} {', and '.join(parts)}" if parts else ""
    software = f"{base} is {comparison.software[base]}" if base in comparison.software else ""
    return Claim("Speed", text, "ratios-time", "; ".join(filter(None, [software, _noise(used)])))


def _memory(comparison: Comparison) -> Claim:
    ratios = _ratios(comparison, "train", comparison.memory_metric)
    verb = "take" if len(comparison.others) > 1 else "takes"
    memory = "GPU memory" if comparison.memory_metric == "gpu_peak" else "memory"
    factors = _factors(comparison, ratios, "least")
    text = f"{_others(comparison)} {verb} {factors} the {memory} of {comparison.base} in training" if factors else ""
    condition = "; ".join(filter(None, [_above_baseline(comparison), _noise(list(ratios.values()))]))
    return Claim("Memory", text, "ratios-memory", condition)


def _above_baseline(comparison: Comparison) -> str:
    """Say how much of the memory of whole processes is not what they take before any work: Python, TensorFlow."""
    if comparison.memory_metric != "peak_rss":
        return ""
    factors = _factors(comparison, _ratios(comparison, "train", "rss_above_baseline"), "least")
    return f"of the whole process; above its memory before any work, {factors}" if factors else ""


def _ratios(comparison: Comparison, phase: str, metric: str) -> dict[Key, statistics.Ratio]:
    """Divide a cost of every other engine by that of the base."""
    ratios = {
        (network, engine): statistics.ratio(comparison.results, network, phase, metric, engine, comparison.base)
        for network in comparison.networks
        for engine in comparison.others
    }
    return {key: ratio for key, ratio in ratios.items() if ratio}


def _factors(comparison: Comparison, ratios: dict[Key, statistics.Ratio], extreme: str) -> str:
    """Say the factor of a single engine with its spread, or the range of several engines and who is at its end.

    Args:
        comparison: The engines.
        ratios: The factors.
        extreme: `fastest` for the largest, `least` for the smallest.
    """
    texts = []
    for network in comparison.networks:
        by_engine = {engine: ratio for (name, engine), ratio in ratios.items() if name == network}
        if not by_engine:
            continue
        where = network if len(comparison.networks) > 1 else ""
        least, most = (pick(by_engine, key=lambda engine: by_engine[engine].mean) for pick in (min, max))
        low, high = (three_digits(by_engine[engine].mean) for engine in (least, most))
        if len(by_engine) > 1:
            name = f"{extreme} {most if extreme == _FASTEST else least}"
            texts.append(f"{low} to {high} times{_bracket(where, name)}")
            continue
        ratio = by_engine[least]
        spread = f"{three_digits(ratio.low)} to {three_digits(ratio.high)}" if ratio.repeats > 1 else ""
        engine = least if len(comparison.others) > 1 else ""
        texts.append(f"{low} times{_bracket(where, engine, spread)}")
    return _listed(texts)


def _others(comparison: Comparison) -> str:
    return comparison.others[0] if len(comparison.others) == 1 else "the other engines"


def _decibels(difference: statistics.Difference, explained: bool) -> str:
    if statistics.judge_psnr(difference) == statistics.TOO_FEW:
        return ""
    # Rounded first: -0.001 is no difference to be seen, and has no sign.
    mean, low, high = (round(value, 2) + 0.0 for value in (difference.mean, difference.low, difference.high))
    if explained:
        return f"(PSNR {mean:+.2f} dB, 95 % interval {low:+.2f} to {high:+.2f})"
    return f"({mean:+.2f} dB, {low:+.2f} to {high:+.2f})"


def _noise(ratios: list[statistics.Ratio]) -> str:
    return "one repeat, noise unknown" if ratios and all(ratio.repeats == 1 for ratio in ratios) else ""


def _bracket(*texts: str) -> str:
    inner = ", ".join(filter(None, texts))
    return f" ({inner})" if inner else ""


def _listed(texts: list[str]) -> str:
    """Join texts as in `a, b and c`."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))
