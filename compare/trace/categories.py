"""What kind of work a kernel does, judged by its name."""

from __future__ import annotations

import re

from compare.trace.summary import Summary

UNCLASSIFIED = "unclassified"

# The first pattern that is found in a name decides, in any case of letters. Names are those of BART, cuFFT, cuBLAS,
# cuDNN, XLA, Eigen (TensorFlow) and PyTorch, mangled or not.
PATTERNS = (
    ("FFT", r"fft|dpradix|spradix|bluestein|twiddle"),
    (
        "convolution, GEMM",
        r"gemm|gemv|conv(?!ert)|winograd|xmma|cutlass|cudnn|im2col|wgrad|dgrad|fprop|mma_|ampere_s|dot_fus",
    ),
    ("activation", r"pdf_gauss|relu|activation|sigmoid|tanh|gelu|batch_?norm|bn_(fw|bw)"),
    ("reduction", r"reduce|reduction|dot_kernel|asum|nrm2|zsum|softmax|scan|cumsum|max_?pool|arg_?max"),
    ("copy", r"copy|transpose|nchw|nhwc|concat|gather|scatter|slice|pad(ding)?|reverse|fill|memset|memcpy|broadcast"),
    ("copy", r"double2float|float2double|zreal|zcmpl|convert|cast|triag|permute|flip|bitcast|unpack"),
    (
        "element-wise",
        r"kern_|elementwise|element_wise|pointwise|fusion|wrapped_|eigen|cwise|axpy|scal_|unfold|random|rng",
    ),
    ("element-wise", r"multiply|add_kernel|binary|unary|select|threshold|foreach|adam|sgd|apply_"),
)
_COMPILED = [(category, re.compile(pattern, re.IGNORECASE)) for category, pattern in PATTERNS]
CATEGORIES = (*dict.fromkeys(category for category, _ in PATTERNS), UNCLASSIFIED)


def category(name: str) -> str:
    """Return the category of a kernel, `unclassified` if no pattern matches its name."""
    return next((each for each, pattern in _COMPILED if pattern.search(name)), UNCLASSIFIED)


def times_ns(summary: Summary) -> dict[str, tuple[int, float]]:
    """Return number and nanoseconds of the kernels of each category."""
    times = dict.fromkeys(CATEGORIES, (0, 0.0))
    for row in summary.of("kernel"):
        count, total_ns = times[category(row.name)]
        times[category(row.name)] = (count + row.count, total_ns + row.time_ns.total)
    return times


def short(name: str) -> str:
    """Return the readable part of a kernel's name, without arguments, templates and mangling.

    `_ZN3foo3barIfEEvPT_` becomes `foo::bar`, `void foo::bar<float>(float*)` too.
    """
    mangled = re.match(r"_Z(N?)[KVLr]*(.*)", name)
    if mangled:
        parts, rest = [], mangled[2]
        while length := re.match(r"(\d+)", rest):
            start = length.end()
            parts.append(rest[start : start + int(length[1])])
            rest = rest[start + int(length[1]) :]
            if not mangled[1]:
                break
        return "::".join(parts) or name
    plain = re.sub(r"^(void|static|bool|int) ", "", re.sub(r"\(anonymous namespace\)::", "", name))
    return re.split(r"[<(]", plain)[0] or name
