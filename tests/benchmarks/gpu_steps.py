"""Time and memory of both networks on NVIDIA GPUs, with the backend of Keras.

    KERAS_BACKEND=jax python -m tests.benchmarks.gpu_steps OUT.json [varnet-plain varnet-lean modl-plain modl-lean
        varnet-ipalm-plain varnet-ipalm-lean] [--growth] [--gpus 1,2,4]

VarNet: 320 x 368, 15 coils; MoDL: 256 x 232, 12 coils; batches of 10, single precision without TF32, synthetic data.
For each network and memory plan, `steps` has the median step after two to warm up, the first step (without anything
compiled before, and again in a second process, which may use what the first has kept), inference of 1 and of 10 slices,
and peaks of memory (`gpu_case`). The steps are those of SGD; `varnet-ipalm` is VarNet with iPALM and BART's rules, with
how much all its steps have evaluated (`work`). `several_gpus` has steps whose batch 2 or 4 GPUs share
(`parallel_steps`), or why there are none. With `--growth`, `growth` has steps of other sizes (`gpu_growth`).
`gpu_table` prints all of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from compare.measuring import nvidia
from tests.benchmarks import gpu_growth
from tests.benchmarks.gpu_case import KINDS, case_named

NAMES = [f"{kind}-{plan}" for kind in KINDS for plan in ("plain", "lean")]
PACKAGES = ("keras", "jax", "jaxlib", "jax-triton", "tensorflow", "torch", "triton")
# Each case ends within this time.
LIMIT_S = 300


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--growth", action="store_true", help="steps of other sizes, too")
    parser.add_argument("--gpus", default="1,2,4", help="default 1,2,4; 0: growth alone")
    options = parser.parse_args()
    numbers = [int(number) for number in options.gpus.split(",")]
    backend, gpus = os.environ.get("KERAS_BACKEND", "tensorflow"), nvidia.Gpus().names()
    results = {"backend": backend, "gpus": gpus, "versions": versions(), "steps": {}, "several_gpus": {}, "growth": []}

    def save():
        options.out.write_text(json.dumps(results, indent=1))

    # Of its own, so that the first step of each case compiles.
    with tempfile.TemporaryDirectory() as cache:
        environment = environment_of_case(cache)
        if 1 in numbers:
            for name in options.names:
                results["steps"][name] = twice(name, environment)
                print(name, json.dumps(results["steps"][name] | {"losses": None}), flush=True)
                save()
        for number in numbers:
            if number > 1:
                results["several_gpus"][str(number)] = on_several(number, options.names, backend, len(gpus))
                save()
        if options.growth:
            for name in options.names:
                results["growth"] += gpu_growth.measure(name, environment, LIMIT_S)
                save()


def versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment_of_case(cache):
    """Return the environment in which backends take memory as they need it, and keep what they compile in `cache`."""
    idle_bytes = nvidia.memory_used_bytes(nvidia.Gpus().handles[0])
    caches = ("JAX_COMPILATION_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
    return (
        os.environ
        | {name: str(Path(cache, name.lower())) for name in caches}
        | {
            # By itself JAX takes three quarters of the GPU at once.
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "GPU_IDLE_BYTES": str(idle_bytes),
        }
    )


def twice(name, environment):
    """Return what `gpu_case` measures, and the first step of a second process (TensorFlow keeps nothing for it)."""
    argv = [sys.executable, "-m", "tests.benchmarks.gpu_case", json.dumps(asdict(case_named(name)))]
    results = []
    for _ in range(1 if environment.get("KERAS_BACKEND", "tensorflow") == "tensorflow" else 2):
        try:
            finished = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            return {"error": f"not finished within {LIMIT_S} s"}
        if finished.returncode:
            return {"error": finished.stderr[-2000:]}
        results.append(json.loads(finished.stdout.splitlines()[-1]))
    return results[0] | {"first_step_again_s": results[1]["first_step_s"] if results[1:] else None}


def on_several(number, names, backend, available):
    """Return what `parallel_steps` measures of the cases that several GPUs can share, or why it measures nothing."""
    names = [name for name in names if "ipalm" not in name]
    if backend == "torch":
        return {"skipped": "trainings on PyTorch use one GPU"}
    if number > available:
        return {"skipped": f"{available} GPU here"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        argv = [sys.executable, "-m", "tests.benchmarks.parallel_steps", str(out), *names, "--devices", str(number)]
        try:
            reason = subprocess.run(argv, capture_output=True, text=True, timeout=len(names) * LIMIT_S).stderr[-2000:]
        except subprocess.TimeoutExpired:
            reason = f"not finished within {len(names) * LIMIT_S} s"
        return json.loads(out.read_text()) if out.exists() else {"error": reason}


if __name__ == "__main__":
    main()
