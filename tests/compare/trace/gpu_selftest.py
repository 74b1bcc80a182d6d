"""Check the tracer on a machine with an NVIDIA GPU, nvcc and CUPTI; needs Python alone, no package.

    python3 tests/compare/trace/gpu_selftest.py [FOLDER]

Prints PASS, FAIL or n/a lines; FOLDER (default $OUT, else .) gets `selftest.json` and the tracer's files of each case
packed into `selftest-traces.tar.gz`. Exit code 1 if anything failed. Also: a small JAX and a small PyTorch process, ncu
over the self-test, and the machine's ceilings.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from bart_bridge.errors import BartTfError  # noqa: E402
from compare.trace import cupti  # noqa: E402

DURATION_SLACK = 0.05
RESULTS: dict = {"checks": []}
WORK = Path(tempfile.mkdtemp(prefix="selftest-"))
TRACES = WORK / "traces"

JAX = """
import jax, jax.numpy as jnp
assert jax.default_backend() == "gpu", jax.default_backend()
step = jax.jit(lambda x: jnp.tanh(x @ x) / 2)
x = jnp.ones((512, 512))
for _ in range(50):
    x = step(x)
print(float(x.sum()))
"""
TORCH = """
import torch
x = torch.ones(512, 512, device="cuda")
for _ in range(50):
    x = torch.tanh(x @ x) / 2
print(float(x.sum()))
"""


def check(name, passed, detail=""):
    word = {True: "PASS", False: "FAIL", None: "n/a "}[passed]
    RESULTS["checks"].append({"name": name, "passed": passed, "detail": str(detail)})
    print(f"{word} {name}" + (f": {detail}" if detail else ""), flush=True)


def run(argv, environment=None, timeout_s=180):
    start_s = time.perf_counter()
    env = {**os.environ, **(environment or {})}
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=timeout_s)
    return finished, time.perf_counter() - start_s


def traced(library, case, argv):
    folder = TRACES / case
    folder.mkdir(parents=True)
    finished, wall_s = run(argv, cupti.environment(library, folder))
    try:
        activities, facts = cupti.read(folder)
    except BartTfError as error:
        check(f"{case}: a trace is there", False, f"{error}; stderr: {finished.stderr[-500:]}")
        return finished, {}, {}, wall_s
    return finished, {(row.kind, row.name): row for row in activities}, facts, wall_s


def find(rows, name):
    """Add up the rows of a name; kernels are found by a part of their mangled name."""
    found = [row for (kind, known), row in rows.items() if known == name or (kind == "kernel" and name in known)]
    total = sum(row.time_ns.total for row in found)
    return sum(row.count for row in found), sum(row.bytes.total for row in found), total


def check_counts(library, program, case, expected_code):
    finished, rows, facts, _ = traced(library, case, [program, case])
    check(f"{case}: exit code", finished.returncode == expected_code, finished.returncode)
    if not rows:
        return
    expected = json.loads(finished.stdout)
    RESULTS[case] = {"facts": facts}
    for name, (count, size) in expected.items():
        got = find(rows, name)
        RESULTS[case][name] = {"expected": [count, size], "traced": [got[0], got[1]]}
        check(
            f"{case}: {name} count and bytes", got[:2] == (count, size), f"expected {count}, {size}; traced {got[:2]}"
        )
    check(f"{case}: nothing dropped", facts["dropped"] == "0", facts["dropped"])
    check(f"{case}: no error of CUPTI", not facts.get("errors"), facts.get("errors", ""))
    wanted = {"counts": "exit", "abort": "signal 6", "vanish": "running"}[case]
    check(f"{case}: how it ended", facts["end"] == wanted, facts["end"])


def check_durations(library, program):
    finished, rows, _, _ = traced(library, "durations", [program, "durations"])
    if finished.returncode or not rows:
        check("durations: ran", False, finished.stderr[-300:])
        return
    RESULTS["durations"] = {}
    for name, events_ns in json.loads(finished.stdout).items():
        _, _, traced_ns = find(rows, name)
        ratio = traced_ns / events_ns
        RESULTS["durations"][name] = {"events_ns": events_ns, "traced_ns": traced_ns, "ratio": ratio}
        check(f"durations: {name} within 5 % of CUDA events", abs(ratio - 1) <= DURATION_SLACK, f"ratio {ratio:.4f}")


def measure_overhead(library, program):
    plain = sorted(float(run([program, "many"])[0].stdout) for _ in range(3))
    under = []
    for number in range(3):
        finished, rows, facts, _ = traced(library, f"many-{number}", [program, "many"])
        under.append(float(finished.stdout))
        count = find(rows, "known_add")[0]
        check(f"many {number}: launches", count == 200001, f"{count}, dropped {facts.get('dropped')}")
    ratio = sorted(under)[1] / plain[1]
    RESULTS["overhead_of_200000_tiny_launches"] = {"untraced_s": plain, "traced_s": under, "ratio_of_medians": ratio}
    print(f"INFO overhead at 200,000 launches of a tiny kernel: traced/untraced {ratio:.2f}", flush=True)


def sanitize(program, library):
    if not shutil.which("compute-sanitizer"):
        check("compute-sanitizer", None, "not installed")
        return
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck"):
        finished, _ = run(["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", program, "counts"])
        last = (finished.stdout + finished.stderr).strip().splitlines()[-1:]
        check(f"compute-sanitizer {tool}", finished.returncode == 0, " ".join(last))
    # Sanitizer and tracer want the same place in the driver; whether both work together is only told.
    folder = TRACES / "sanitized"
    folder.mkdir()
    finished, _ = run(
        ["compute-sanitizer", "--error-exitcode", "9", program, "counts"], cupti.environment(library, folder)
    )
    RESULTS["sanitizer_with_tracer"] = {"exit": finished.returncode, "traces": len(list(folder.glob("*.tsv")))}
    print(f"INFO compute-sanitizer with the tracer: {RESULTS['sanitizer_with_tracer']}", flush=True)


def check_framework(library, name, code):
    finished, _ = run([sys.executable, "-c", f"import {name}"])
    if finished.returncode:
        check(f"{name}: traced", None, f"{name} cannot be imported")
        return
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    os.environ.update(environment)
    untraced, plain_s = run([sys.executable, "-c", code])
    finished, rows, facts, wall_s = traced(library, name, [sys.executable, "-c", code])
    kernels = sum(row.count for (kind, _), row in rows.items() if kind == "kernel")
    RESULTS[name] = {"kernels": kernels, "traced_s": wall_s, "untraced_s": plain_s, "facts": facts}
    RESULTS[name]["names"] = sorted(known for kind, known in rows if kind == "kernel")
    check(
        f"{name}: same result traced",
        finished.stdout == untraced.stdout and finished.returncode == 0,
        finished.stderr[-300:],
    )
    # 50 steps, each at least one kernel however it is fused.
    check(f"{name}: kernels were seen", kernels >= 50, kernels)
    check(f"{name}: one copy to the host of 4 bytes", find(rows, "DtoH")[0] >= 1, find(rows, "DtoH")[:2])


def count_with_ncu(program, output):
    from compare.trace import roofline

    if reason := roofline.unusable():
        check("ncu", None, reason)
        return
    log = output / "selftest-ncu.csv"
    finished, _ = run([*roofline.prefix(log), program, "counts"])
    try:
        kernels = roofline.read(log)
    except (BartTfError, OSError) as error:
        check("ncu: read", False, f"{error}; exit {finished.returncode}; {(finished.stdout + finished.stderr)[-500:]}")
        return
    RESULTS["ncu"] = [vars(kernel) for kernel in kernels]
    add = next((kernel for kernel in kernels if "known_add" in kernel.name), None)
    flop = add.flop["fp32"] if add else None
    check("ncu: fp32 additions of known_add", flop == 64 * 256, flop)
    check("ncu: sampled launches of known_add", add is not None and add.launches == 2, add and add.launches)


def main():
    output = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("OUT", ".")).absolute()
    output.mkdir(parents=True, exist_ok=True)
    try:
        found = cupti.find()
        library = cupti.build(found, WORK / "cache")
        check("tracer compiles", True, f"{found.library}")
        check("tracer is cached", cupti.build(found, WORK / "cache") == library)
    except BartTfError as error:
        check("tracer compiles", False, error)
        return finish(output)
    program = str(WORK / "selftest")
    source = Path(__file__).with_name("selftest.cu")
    finished, _ = run(["nvcc", "-O2", "-std=c++17", "-arch=native", str(source), "-o", program])
    check("self-test compiles", finished.returncode == 0, finished.stderr[-500:])
    if finished.returncode:
        return finish(output)
    steps = (
        lambda: check_counts(library, program, "counts", 0),
        lambda: check_counts(library, program, "abort", -6),
        lambda: check_counts(library, program, "vanish", 0),
        lambda: check_durations(library, program),
        lambda: measure_overhead(library, program),
        lambda: sanitize(program, library),
        lambda: check_framework(library, "jax", JAX),
        lambda: check_framework(library, "torch", TORCH),
        lambda: count_with_ncu(program, output),
        measure_ceilings,
        check_nsys,
    )
    for number, step in enumerate(steps):
        try:
            step()
        except Exception as error:  # noqa: BLE001  the other checks are worth their time on a lent machine
            check(f"step {number}", False, f"{type(error).__name__}: {error}")
    return finish(output)


def measure_ceilings():
    from compare.trace import roofline

    RESULTS["ceilings"] = roofline.measure_ceilings()
    print(f"INFO ceilings: {RESULTS['ceilings']}", flush=True)


def check_nsys():
    from compare.trace import nsys

    reason = nsys.unusable()
    check("nsys can report", True if not reason else None, reason)


def finish(output):
    if shutil.which("nvidia-smi"):
        RESULTS["gpu"] = run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])[
            0
        ].stdout.strip()
    (output / "selftest.json").write_text(json.dumps(RESULTS, indent=1))
    if TRACES.exists():
        with tarfile.open(output / "selftest-traces.tar.gz", "w:gz") as archive:
            archive.add(TRACES, "traces")
    failed = [one["name"] for one in RESULTS["checks"] if one["passed"] is False]
    print(
        f"{len(RESULTS['checks'])} checks, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""),
        flush=True,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
