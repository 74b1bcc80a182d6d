#!/usr/bin/env python3
"""Trace both networks at their published sizes, on synthetic data, on a machine with an NVIDIA GPU.

    python3 tools/profile_sample.py OUT [--bart PATH] [--networks varnet modl] [--engines bart keras-jax ...]
        [--optimizers sgd adam ipalm admm] [--repeats 1] [--budget-s 540] [--no-roofline] [--untimed]

Needs this repository, Python, numpy, pydantic, PyYAML, h5py, and Keras with TensorFlow or JAX; nvidia-ml-py for the
GPU's state; nvcc and CUPTI for the tracer; ncu for the roofline. Each training of a few updates runs untraced, with the
memory of the device sampled, and traced. An engine or optimizer that cannot run is listed with the reason, and so
is what the time did not suffice for. OUT gets `sample.json` and one archive, `sample.tar.gz`; then, anywhere:

    tar xzf sample.tar.gz && bart-tf profile --from sample -o reports/samples/gpu
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from bart_bridge.data.coils import ring_of_coils  # noqa: E402
from bart_bridge.data.dataset import Split  # noqa: E402
from bart_bridge.data.fourier import centred_fft  # noqa: E402
from bart_bridge.data.patterns import sampling_pattern  # noqa: E402
from bart_bridge.errors import BartTfError  # noqa: E402
from bart_bridge.files import atomic, cfl  # noqa: E402
from bart_bridge.files.dims import from_batch_coil_yx  # noqa: E402
from bart_bridge.reconet import commands, weights  # noqa: E402
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings  # noqa: E402
from bart_bridge.reconet.training_settings import Training  # noqa: E402
from bart_bridge.tools import process  # noqa: E402
from bart_bridge.tools.toolbox import Toolbox  # noqa: E402
from compare.trace import cupti, roofline  # noqa: E402
from compare.trace.gpu_state import QUANTITIES, GpuState  # noqa: E402

# x, y, coils, and how k-space is sampled; the k-space of the knee without its readout oversampling.
SIZES = {"varnet": (320, 368, 15, "regular", 4, 28), "modl": (256, 232, 12, "random", 6, 10)}
NETWORKS = {"varnet": VarNetSettings(), "modl": ModlSettings()}
# iPALM keeps its own first step.
LEARNING_RATES = {"sgd": 1e-4, "adam": 1e-3, "admm": 1e-3}
SLICES, BATCH, EPOCHS = 20, 10, 2
# MoDL under iPALM on TensorFlow takes three minutes.
RUN_LIMIT_S = 300
_CURVE_POINTS = 400


class UnavailableError(Exception):
    """Something that cannot run here, with the reason."""


def synthetic(folder, kind):
    """Write slices of smooth random images and coils, undersampled, as BART files."""
    size_x, size_y, coil_count, pattern_kind, acceleration, centre = SIZES[kind]
    generator = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : size_y * 1j, -1 : 1 : size_x * 1j].astype(np.float32)
    coils = ring_of_coils(size_x, size_y, coil_count)
    pattern = sampling_pattern(size_x, size_y, pattern_kind, acceleration, centre, generator)
    images = np.zeros((SLICES, size_y, size_x), np.complex64)
    for image in images:
        for _ in range(12):
            centre_x, centre_y, width = *generator.uniform(-0.6, 0.6, 2), generator.uniform(0.05, 0.3)
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < width**2
            image[inside] += generator.uniform(0.1, 0.5) * np.exp(1j * (x + y)[inside])
    kspace = np.empty((SLICES, coil_count, size_y, size_x), np.complex64)
    for item, image in enumerate(images):
        kspace[item] = pattern * centred_fft(coils * image)
    folder.mkdir(parents=True)
    for name, array in (
        ("kspace", kspace),
        ("coils", np.repeat(coils[None], SLICES, axis=0)),
        ("pattern", pattern[None, None].astype(np.complex64)),
        ("reference", images[:, None]),
    ):
        cfl.write(folder / name, from_batch_coil_yx(array))
    return Split(*(folder / name for name in ("kspace", "coils", "pattern", "reference")))


def training_of(optimizer):
    rate = {"learning_rate": LEARNING_RATES[optimizer]} if optimizer in LEARNING_RATES else {}
    return Training(algorithm=optimizer, batch_size=BATCH, epochs=EPOCHS, **rate)


class Bart:
    """`bart reconet` with CUDA."""

    def __init__(self, path):
        if path is None:
            raise UnavailableError("no BART was named with --bart")
        self.toolbox = Toolbox.find(path)
        if self.toolbox.build_flags.get("CUDA") != "1":
            raise UnavailableError(f"{self.toolbox.path} was built without CUDA")
        self.version = self.toolbox.version_text
        self.environment = {}

    def train(self, folder, network, training, split, initial):
        if training.algorithm == "admm":
            raise UnavailableError("BART has no ADMM for weights")
        files = commands.TrainingFiles(split, folder / "weights", initial, folder / "history")
        argv = commands.train_argv(self.toolbox, network, training, training.epochs, files, gpu=True)
        return argv, lambda finished: commands.check_trained(
            argv, finished, network, folder / "weights", folder / "history"
        )

    def apply(self, folder, network, split, initial):
        argv = commands.apply_argv(self.toolbox, network, split, initial, folder / "images", gpu=True)
        return argv, check_exit


class Keras:
    """Keras on a backend; `keras-jax-lean` with the memory plan `lean`."""

    def __init__(self, name):
        _, backend, *plan = name.split("-")
        self.plan = plan[0] if plan else ""
        try:
            self.version = f"keras {version('keras')}, {backend} {version(backend)}"
        except PackageNotFoundError as error:
            raise UnavailableError(f"the package {error.name} is not installed") from None
        self.environment = {
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            # As under the tracer, because JAX's cache asks for the same flags.
            "XLA_FLAGS": cupti.XLA_FLAGS,
            # Compiled once, not again under each tracer.
            "JAX_COMPILATION_CACHE_DIR": str(Path(tempfile.gettempdir()) / "bart-tf-jax-cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def _job(self, path, job, fields):
        if self.plan:
            place = next((name for name in ("memory", "memory_plan") if name in job.model_fields), None)
            if place is None:
                raise UnavailableError(f"the worker has no memory plan '{self.plan}'")
            fields[place] = self.plan
        path.write_text(job(**{k: v for k, v in fields.items() if k in job.model_fields}).model_dump_json())
        return [sys.executable, "-m", "tf_models.programs.worker", str(path)], check_exit

    def train(self, folder, network, training, split, initial):
        from tf_models.programs.worker import TrainJob

        fields = {"network": network, "training": training, "split": split, "initial": initial, "device": "gpu"}
        fields |= {"output": folder / "weights.keras", "histories": [folder / "history.npz"]}
        return self._job(folder / "train.json", TrainJob, fields)

    def apply(self, folder, network, split, initial):
        from tf_models.programs.worker import ApplyJob

        fields = {"network": network, "split": split, "weights": initial, "output": folder / "images", "device": "gpu"}
        return self._job(folder / "apply.json", ApplyJob, fields)


def check_exit(finished):
    if finished.returncode != 0:
        raise UnavailableError(f"it {finished.describe()}: {' | '.join(finished.stderr[-3:])[:600]}")


def execute(argv, judge, folder, environment, prefix=()):
    """Run a command with the GPU sampled; its wall seconds, the GPU's state, and the memory curve."""
    state = GpuState()
    with state, process.under(prefix, environment):
        finished = process.run(argv, folder=folder, timeout_s=RUN_LIMIT_S)
    (folder / "log.txt").write_text("\n".join([*finished.stdout[-40:], "--", *finished.stderr[-40:]]))
    judge(finished)
    memory = list(QUANTITIES).index("memory_used_bytes") + 1
    step = max(len(state.samples) // _CURVE_POINTS, 1)
    # The largest of each stretch, so that thinning loses no peak.
    stretches = [state.samples[i : i + step] for i in range(0, len(state.samples), step)]
    curve = [[round(part[0][0], 3), max(sample[memory] for sample in part)] for part in stretches]
    return {"elapsed_s": finished.elapsed_s, "state": state.summary(), "device_memory_curve": curve}


def levels(curve):
    """Peak above the idle device, and the highest level below the last one, in bytes."""
    if not curve:
        return None
    idle = curve[0][1]
    used = [bytes_used - idle for _, bytes_used in curve]
    below = [value for value in used if value < max(used) - 32 * 2**20]
    return {"idle_bytes": idle, "peak_bytes": max(used), "before_last_growth_bytes": max(below, default=max(used))}


def main():
    arguments = parse()
    start_s = time.perf_counter()
    output = arguments.out.absolute()
    output.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="profile-sample-"))
    sample = work / "sample"
    sample.mkdir()
    report = {"machine": machine(), "sizes": SIZES, "slices": SLICES, "batch": BATCH, "epochs": EPOCHS, "runs": {}}

    def pack(*_):
        (sample / "sample.json").write_text(json.dumps(report, indent=1))
        (output / "sample.json").write_text(json.dumps(report, indent=1))
        with atomic.new_file(output / "sample.tar.gz") as temporary, tarfile.open(temporary, "w:gz") as archive:
            archive.add(sample, "sample")

    signal.signal(signal.SIGTERM, lambda *_: (pack(), sys.exit(1)))
    library = cupti.build(cupti.find())
    try:
        report["ceilings"] = roofline.measure_ceilings()
        (sample / roofline.CEILINGS).write_text(json.dumps(report["ceilings"]))
    except BartTfError as error:
        report["ceilings"] = f"n/a: {error}"
    engines = {}
    for name in arguments.engines:
        try:
            engines[name] = Bart(arguments.bart) if name == "bart" else Keras(name)
        except (UnavailableError, BartTfError) as error:
            note(report, name, f"n/a: {error}")
    splits = {kind: synthetic(work / kind, kind) for kind in arguments.networks}
    # Whatever comes first in the time there is: every network and engine with one optimizer before the next.
    plan = [
        (optimizer, kind, name, repeat)
        for repeat in range(arguments.repeats)
        for optimizer in arguments.optimizers
        for kind in arguments.networks
        for name in engines
    ]
    for optimizer, kind, name, repeat in plan:
        label = f"{kind}-{name}-{optimizer}-{repeat}"
        if time.perf_counter() - start_s > arguments.budget_s:
            note(report, label, "n/a: the time was spent")
            continue
        folder = sample / label
        try:
            counted = optimizer == arguments.optimizers[0] and repeat == 0
            timed = repeat == 0 and not arguments.untimed
            scratch = work / "runs" / label
            run = one(folder, scratch, kind, engines[name], name, optimizer, repeat, splits[kind], library, timed)
            report["runs"][label] = run
            print(f"done {label}: {run['traced_s']:.1f} s traced", flush=True)
            if counted and timed:
                run["inference"] = inference(scratch, kind, engines[name], splits[kind])
            if counted and not arguments.no_roofline:
                run["ncu"] = count(folder, scratch, kind, engines[name], optimizer, splits[kind])
        except (UnavailableError, BartTfError, ValueError) as error:
            note(report, label, f"n/a: {' '.join(str(error).split())[:800]}")
            (folder / "facts.json").unlink(missing_ok=True) if not any(folder.glob("trace-*")) else None
        pack()
    pack()
    print(f"{len(report['runs'])} entries in {time.perf_counter() - start_s:.0f} s: {output}/sample.tar.gz")
    shutil.rmtree(work, ignore_errors=True)


def one(folder, scratch, kind, engine, name, optimizer, repeat, split, library, timed):
    """Train once untraced, if its time is wanted, and once traced."""
    network = NETWORKS[kind]
    training = training_of(optimizer)
    folder.mkdir()
    scratch.mkdir(parents=True)
    initial = scratch / "initial"
    weights.write(initial, network, weights.initial(network, 0))
    argv, judge = engine.train(scratch, network, training, split, initial)
    if repeat == 0 and engine.environment.get("KERAS_BACKEND") == "jax":
        # This run tries kernels, compiles and fills caches, for the runs that follow.
        execute(argv, judge, scratch, engine.environment)
    plain = execute(argv, judge, scratch, engine.environment) if timed else None
    traced = execute(argv, judge, scratch, engine.environment | cupti.environment(library, folder))
    facts = {
        "network": kind,
        "network_kind": kind,
        "engine": name,
        "engine_version": engine.version,
        "optimizer": optimizer,
        "repeat": repeat,
        "machine": machine(),
        "wall_s": traced["elapsed_s"],
        "state": traced["state"],
    }
    found = {"traced_s": traced["elapsed_s"], "updates": EPOCHS * SLICES // BATCH}
    if plain:
        facts["untraced_wall_s"] = plain["elapsed_s"]
        found |= {"untraced": plain, "memory": levels(plain["device_memory_curve"])}
        found |= {"overhead": traced["elapsed_s"] / plain["elapsed_s"]}
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))
    return found


def inference(scratch, kind, engine, split):
    """Reconstruct all slices once, untraced."""
    argv, judge = engine.apply(scratch, NETWORKS[kind], split, scratch / "initial")
    found = execute(argv, judge, scratch, engine.environment)
    return found | {"memory": levels(found["device_memory_curve"])}


def count(folder, scratch, kind, engine, optimizer, split):
    """Count operations and bytes of a sample of kernels."""
    if reason := roofline.unusable():
        return f"n/a: {reason}"
    training = training_of(optimizer)
    argv, _ = engine.train(scratch, NETWORKS[kind], training, split, scratch / "initial")
    log = folder / roofline.FILE
    try:
        execute(argv, lambda finished: None, scratch, engine.environment, roofline.prefix(log))
        return f"{len(roofline.read(log))} kernels"
    except (BartTfError, OSError) as error:
        kept = log.exists() and '"Kernel Name"' in log.read_text(errors="replace")
        if not kept:
            log.unlink(missing_ok=True)
        return f"{'cut off' if kept else 'n/a'}: {' '.join(str(error).split())[:400]}"


def note(report, name, text):
    report["runs"][name] = text
    print(f"{name}: {text}", flush=True)


def machine():
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return f"{found}, {os.cpu_count()} cores, {os.uname().release}"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--bart", help="a BART that was built with CUDA")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", default=["bart", "keras-tensorflow", "keras-jax", "keras-jax-lean"])
    parser.add_argument("--optimizers", nargs="+", default=["adam", "sgd", "ipalm", "admm"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--budget-s", type=float, default=540, help="no run is started after so many seconds")
    parser.add_argument("--no-roofline", action="store_true")
    parser.add_argument("--untimed", action="store_true", help="trace only: TensorFlow compiles anew in every process")
    return parser.parse_args()


if __name__ == "__main__":
    main()
