"""What can train and apply a network: a BART binary, or Keras on a backend. Each call runs child processes."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split, along_batch, first_slice
from bart_bridge.errors import DivergedError, InputError, ToolError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import to_batch_map_yx
from bart_bridge.reconet import commands
from bart_bridge.reconet.divergence import DivergenceWatch
from bart_bridge.reconet.network_settings import MemoryPlan, Network
from bart_bridge.reconet.training_settings import Training, stages
from bart_bridge.tools import process
from bart_bridge.tools.toolbox import Toolbox, failure
from compare.measuring import monitor
from compare.measuring.memory_sampling import high_water_bytes
from compare.measuring.monitor import MeasuredError, Measurement
from compare.measuring.quality import check_images
from compare.settings.experiment import EngineName

if TYPE_CHECKING:
    from tf_models.programs.worker import ApplyJob, TrainJob

Device = Literal["cpu", "gpu"]
History = dict[str, NDArray[np.float64]]
OnProgress = Callable[[commands.Progress], None]


@dataclass(frozen=True)
class Inference:
    """Times of reconstructing one slice.

    Attributes:
        first_s: Wall seconds of the first call.
        wall_s: Wall seconds of each later call.
        cpu_s: User and system seconds of each later call.
        definition: What a call is.
        first_definition: What the first call is.
    """

    first_s: float
    wall_s: list[float]
    cpu_s: list[float]
    definition: str
    first_definition: str


class Engine(Protocol):
    """Something that can train a network, apply it, and keep its weights in a file.

    Attributes:
        name: As in the configuration.
        version: Of the program that computes.
        backend: What runs under it, empty if nothing does.
        memory_plan: How it spends memory, empty if there is no choice.
        weights_name: Name of the file of trained weights in a run's folder.
    """

    name: EngineName
    version: str
    backend: str
    memory_plan: str
    weights_name: str

    def train(
        self,
        folder: Path,
        network: Network,
        training: Training,
        split: Split,
        initial: Path,
        on_progress: OnProgress,
        validation: Split | None = None,
        devices: int = 1,
    ) -> tuple[Measurement, list[History]]:
        """Train from BART weights `initial` and leave the weights in `folder`; measure `validation` after each epoch.

        `devices` share every batch, see `tf_models.training.data_parallel`; BART has one. `on_progress` is told epochs
        that are counted through all stages.

        Returns:
            What it used, and the history of each stage.

        Raises:
            ToolError: The training failed.
            DivergedError: It diverged; it was ended then and leaves no weights.
        """
        ...

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct a split with weights of this engine, or with BART weights, into a BART array.

        Raises:
            MeasuredError: The reconstruction failed, or its images are refused by
                `compare.measuring.quality.check_images`.
        """
        ...

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time the reconstruction of the first slice, once and then `calls` times, and measure the memory of it all.

        Raises:
            MeasuredError: A reconstruction failed.
        """
        ...


def create(name: EngineName, device: Device, bart: Toolbox, threads: int | None = None) -> Engine:
    """Make an engine by its name.

    Args:
        name: `keras-tensorflow`, `bart`, or `bart-` and anything for another binary.
        device: Where it computes.
        bart: The binary that a BART engine runs.
        threads: Threads that it uses; default as many as `usable_threads`.

    Raises:
        InputError: The engine cannot use the device.
    """
    count = threads or usable_threads()
    return KerasEngine(name, device, count) if name.startswith("keras-") else BartEngine(bart, device, count, name)


def toolbox_of(name: EngineName, binaries: Mapping[str, Path], bart: Toolbox) -> Toolbox:
    """Find the BART of an engine: one of `binaries`, or the one in use.

    Raises:
        ToolError: The binary is missing or does not work.
    """
    return Toolbox.find(binaries[name]) if name in binaries else bart


def usable_threads() -> int:
    """Return OMP_NUM_THREADS if it is a number, else the number of cores that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


class BartEngine:
    """`bart reconet`."""

    backend = ""
    memory_plan = ""
    weights_name = "weights"

    def __init__(self, toolbox: Toolbox, device: Device, threads: int, name: EngineName = "bart") -> None:
        self.name = name
        if device == "gpu" and toolbox.build_flags.get("CUDA") != "1":
            raise InputError(f"device: {toolbox.path} was built without CUDA, 'gpu' needs a BART with it")
        self.toolbox = toolbox
        self.version = toolbox.version_text
        self._gpu = device == "gpu"
        self._environment = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self._baseline: int | None = None

    def train(
        self,
        folder: Path,
        network: Network,
        training: Training,
        split: Split,
        initial: Path,
        on_progress: OnProgress,
        validation: Split | None = None,
        devices: int = 1,
    ) -> tuple[Measurement, list[History]]:
        """Train in one `reconet` command for each stage."""
        assert devices == 1, "refused by the configuration"
        total: Measurement | None = None
        histories: list[History] = []
        parts = stages(network, training)
        for number, (stage, epochs) in enumerate(parts, start=1):
            last = number == len(parts)
            weights = folder / (self.weights_name if last else f"weights-stage{number}")
            history = folder / f"history-stage{number}"
            for path in (weights, history):
                _remove(path)
            files: dict[str, Any] = {"initial": initial, "history": history}
            report = commands.later(on_progress, sum(earlier for _, earlier in parts[: number - 1]))
            earlier_updates = sum(columns["loss"].size for columns in histories)
            updates = epochs * (split.items // min(training.batch_size, split.items))
            watch = DivergenceWatch(report, updates, earlier_updates)
            with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}along-batch-", dir=folder) as name:
                slices = along_batch(split, Path(name) / "train")
                if validation is not None:
                    files["validation"] = along_batch(validation, Path(name) / "validation")
                argv = commands.train_argv(
                    self.toolbox, stage, training, epochs, slices, weights, **files, gpu=self._gpu
                )
                finished, measurement = self._run(argv, folder, watch)
            try:
                watch.check()
                commands.check_trained(argv, finished, stage, weights, history, earlier_updates)
            except ToolError as error:
                _remove(weights)
                raise MeasuredError(error, measurement) from None
            histories.append(commands.read_history(history, stage, validated=validation is not None))
            total = measurement if total is None else total.then(measurement)
            initial = weights
        assert total is not None
        return total, histories

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct with one `reconet` command."""
        _remove(output)
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}along-batch-", dir=folder) as name:
            slices = along_batch(split, Path(name) / "slices")
            argv = commands.apply_argv(self.toolbox, network, slices, weights, output, gpu=self._gpu)
            finished, measurement = self._run(argv, folder)
        if finished.returncode != 0:
            raise MeasuredError(failure(argv, finished), measurement)
        _check_images(output, measurement)
        return measurement

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time whole commands, and take one slice from all: a command has a start that a slice has not."""
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}one-slice-", dir=folder) as name:
            one, output = first_slice(split, Path(name)), Path(name) / "images"
            total = first = self.apply(folder, network, one, weights, output)
            wall_s, cpu_s = [], []
            for _ in range(calls if split.items > 1 else 0):
                single = self.apply(folder, network, one, weights, output)
                whole = self.apply(folder, network, split, weights, output)
                total = total.then(single).then(whole)
                wall_s.append((whole.elapsed_s - single.elapsed_s) / (split.items - 1))
                cpu_s.append((whole.cpu_s - single.cpu_s) / (split.items - 1))
        definition = "difference of a command for all test slices and one for a slice, by the number of further slices"
        if not wall_s:
            definition = "n/a: a difference needs two test slices or more"
        return total, Inference(
            first.elapsed_s, wall_s, cpu_s, definition, "first command for one slice, with its start"
        )

    def _run(
        self, argv: list[str], folder: Path, on_line: Callable[[str], bool | None] | None = None
    ) -> tuple[process.Finished, Measurement]:
        if self._baseline is None:
            self._baseline = self._measure_baseline(folder)
        finished, measurement = monitor.run(argv, folder, self._environment, on_line)
        note = "high-water mark of the resident set of bart fft of 8 x 8 zeros"
        return finished, replace(
            measurement,
            baseline_rss_bytes=self._baseline,
            baseline_note=note if self._baseline else "n/a: bart fft failed",
            allocator_note="n/a: BART keeps no such count",
        )

    def _measure_baseline(self, folder: Path) -> int | None:
        """Return what BART has in memory after its start and a small kernel; None if that fails."""
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}baseline-", dir=folder) as name:
            zeros = Path(name) / "zeros"
            cfl.write(zeros, np.zeros((8, 8), np.complex64))
            argv = self.toolbox.argv("fft", "3", zeros, Path(name) / "out")
            return high_water_bytes(argv, Path(name), self._environment)


class KerasEngine:
    """Keras on the backend in its name, with the memory plan that its name ends with."""

    weights_name = "weights.keras"

    def __init__(self, name: EngineName, device: Device, threads: int) -> None:
        self.name = name
        self.backend = name.split("-")[1]
        self._memory: MemoryPlan = "lean" if name.endswith("-lean") else "plain"
        self.memory_plan: str = self._memory
        try:
            self.version = f"{version('keras')} with {self.backend} {version(self.backend)}"
        except PackageNotFoundError:
            raise InputError(f"engine {name}: the package {self.backend} is not installed") from None
        self._device = device
        self._environment = {"KERAS_BACKEND": self.backend}
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        self._environment |= dict.fromkeys(names, str(threads))
        # With growth, the memory that NVML shows is what was needed and not all there is, or JAX's three quarters.
        growth = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        self._environment |= growth if device == "gpu" else {"CUDA_VISIBLE_DEVICES": "-1"}

    def train(
        self,
        folder: Path,
        network: Network,
        training: Training,
        split: Split,
        initial: Path,
        on_progress: OnProgress,
        validation: Split | None = None,
        devices: int = 1,
    ) -> tuple[Measurement, list[History]]:
        """Train all stages in one child process, from the checkpoint of one that was interrupted if there is one.

        The times are then those of all processes, up to the checkpoint and from it on; the memory is that of the last,
        unknown if nothing was left for it to train.
        """
        from tf_models.programs.worker import TrainJob

        histories = [folder / f"history-stage{number + 1}.npz" for number in range(len(stages(network, training)))]
        job = TrainJob(
            network=network,
            training=training,
            split=split,
            initial=initial,
            output=folder / self.weights_name,
            histories=histories,
            device=self._device,
            validation=validation,
            report=folder / "train-report.json",
            memory=self._memory,
            checkpoint=folder / "checkpoint",
            devices=devices,
        )
        # Should this training fail, no weights of an earlier one may pass for its own.
        job.output.unlink(missing_ok=True)
        measurement, report = self._run(folder / "train-job.json", job, on_progress)
        found = []
        for path in histories:
            with np.load(path) as history:
                found.append(dict(history))
        if "continued_from" in report:
            if report["continued_from"] == sum(history["seconds"].size for history in found):
                measurement = measurement.without_memory(
                    "n/a: the process before this one trained to the end, and its memory was not kept"
                )
            measurement = replace(
                measurement,
                elapsed_s=measurement.elapsed_s + report["earlier_s"],
                cpu_s=measurement.cpu_s + report["earlier_cpu_s"],
                ending=f"{measurement.ending}, continued after {report['continued_from']} updates",
            )
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return measurement, found

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct in a child process that loads the weights anew."""
        return self._apply(folder, network, split, weights, output, 0)[0]

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time calls of the loaded network, after it has reconstructed the split."""
        output = folder / "infer-images"
        measurement, report = self._apply(folder, network, split, weights, output, calls)
        _remove(output)
        definition = "call of the loaded network with one slice, from arrays in memory to an array in memory"
        first = "first such call, with tracing"
        return measurement, Inference(report["first_s"], report["wall_s"], report["cpu_s"], definition, first)

    def _apply(
        self, folder: Path, network: Network, split: Split, weights: Path, output: Path, calls: int
    ) -> tuple[Measurement, dict[str, Any]]:
        from tf_models.programs.worker import ApplyJob

        phase = "infer" if calls else "apply"
        job = ApplyJob(
            network=network,
            split=split,
            weights=weights,
            output=output,
            device=self._device,
            memory=self._memory,
            report=folder / f"{phase}-report.json",
            timed_calls=calls,
        )
        measurement, report = self._run(folder / f"{phase}-job.json", job, lambda progress: None)
        _check_images(output, measurement)
        return measurement, report

    def _run(self, job_file: Path, job: TrainJob | ApplyJob, on_progress: OnProgress) -> tuple[Measurement, Any]:
        assert job.report is not None
        job.report.unlink(missing_ok=True)
        atomic.write_text(job_file, job.model_dump_json(indent=1))
        argv = [sys.executable, "-m", "tf_models.programs.worker", str(job_file)]
        reader = _progress_reader(on_progress)
        finished, measurement = monitor.run(argv, job_file.parent, self._environment, on_line=reader)
        if finished.returncode != 0:
            error = ToolError(f"{self.name} {finished.describe()}", argv, finished.returncode, _last_words(finished))
            with suppress(OSError, ValueError, KeyError):
                report = json.loads(job.report.read_text())
                error = DivergedError(report["diverged_at_update"], report["reason"])
            raise MeasuredError(error, measurement)
        report = json.loads(job.report.read_text())
        return replace(
            measurement,
            baseline_rss_bytes=report["baseline_rss_bytes"],
            baseline_note="resident set after imports and a first kernel, by the process itself",
            allocator_peak_bytes=report["allocator_peak_bytes"],
            allocator_note=report["allocator_note"],
        ), report


def _progress_reader(on_progress: OnProgress) -> Callable[[str], None]:
    def read(line: str) -> None:
        progress = commands.parse_progress(line)
        if progress:
            on_progress(progress)

    return read


def _last_words(finished: process.Finished) -> tuple[str, ...]:
    return tuple(line.strip() for line in finished.stderr[-3:])


def _check_images(path: Path, measurement: Measurement) -> None:
    try:
        check_images(to_batch_map_yx(cfl.read(path)))
    except (InputError, ToolError) as error:
        raise MeasuredError(ToolError(f"{path}: {error}"), measurement) from None


def _remove(array: Path) -> None:
    for path in cfl.files(array):
        path.unlink(missing_ok=True)
