"""The engine that trains and applies our Keras networks, each time in a child process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.errors import DivergedError, MissingExtraError, ToolError
from bart_bridge.files import atomic
from bart_bridge.reconet.history import parse_progress
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.training_settings import stages
from bart_bridge.tools import process
from bart_bridge.wording import counted
from compare.engines.base import Device, History, Inference, OnProgress, TrainingTask, check_output, remove_array
from compare.measuring import monitor, nvidia
from compare.measuring.monitor import MeasuredError, Measurement
from compare.settings.engine_names import KerasEngineName

if TYPE_CHECKING:
    from tf_models.programs.worker import ApplyJob, TrainJob

# What a child process observed of itself, see `tf_models.programs.process_report`.
Report = dict[str, Any]


class KerasEngine:
    """Keras on the backend and with the memory plan that its name says."""

    weights_name = "weights.keras"

    def __init__(self, name: KerasEngineName, device: Device, threads: int) -> None:
        self.name = str(name)
        self.backend = name.backend
        self.memory_plan: str = name.memory_plan
        self._memory = name.memory_plan
        try:
            self.version = f"{version('keras')} with {self.backend} {version(self.backend)}"
        except PackageNotFoundError as error:
            if error.name in ("keras", "tensorflow"):  # no extra brings them
                raise ToolError(f"{error.name} is not installed, which bart-tf needs for the engine '{name}'") from None
            raise MissingExtraError(self.backend, self.backend) from None
        self._device = device
        self._environment = {"KERAS_BACKEND": self.backend}
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        self._environment |= dict.fromkeys(names, str(threads))
        # With growth, the memory that NVML shows is what was needed and not all there is, or JAX's three quarters.
        growth = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        growth |= nvidia.device_order()
        self._environment |= growth if device == "gpu" else {"CUDA_VISIBLE_DEVICES": "-1"}

    def train(self, task: TrainingTask, on_progress: OnProgress) -> tuple[Measurement, list[History]]:
        """Train all stages in one child process, which continues an interrupted one from its checkpoint.

        The times are then the sum over all processes, before the checkpoint and after it. The memory is that of the
        last process, and unknown if nothing was left for it to train.
        """
        from tf_models.programs.worker import TrainJob

        folder = task.folder
        stage_count = len(stages(task.network, task.training))
        job = TrainJob(
            network=task.network,
            training=task.training,
            split=task.split,
            initial=task.initial,
            output=folder / self.weights_name,
            histories=[folder / f"history-stage{number + 1}.npz" for number in range(stage_count)],
            device=self._device,
            validation=task.validation,
            report=folder / "train-report.json",
            memory=self._memory,
            checkpoint=folder / "checkpoint",
            devices=task.devices,
        )
        # If this training fails, weights of an earlier one must not be mistaken for its result.
        job.output.unlink(missing_ok=True)
        measurement, report = self._run(folder / "train-job.json", job, on_progress)
        histories = []
        for path in job.histories:
            with np.load(path) as history:
                histories.append(dict(history))
        if "continued_from" in report:
            updates = sum(history["seconds"].size for history in histories)
            measurement = _with_earlier(measurement, report, finished_before=report["continued_from"] == updates)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return measurement, histories

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct in a child process that loads the weights anew."""
        return self._apply(folder, network, split, weights, output, 0)[0]

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time calls of the loaded network, after it reconstructed the split."""
        output = folder / "infer-images"
        measurement, report = self._apply(folder, network, split, weights, output, calls)
        remove_array(output)
        definition = "call of the loaded network with one slice, from arrays in memory to an array in memory"
        first = "first such call, with tracing"
        return measurement, Inference(report["first_s"], report["wall_s"], report["cpu_s"], definition, first)

    def _apply(
        self, folder: Path, network: Network, split: Split, weights: Path, output: Path, calls: int
    ) -> tuple[Measurement, Report]:
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
        check_output(output, measurement)
        return measurement, report

    def _run(self, job_file: Path, job: TrainJob | ApplyJob, on_progress: OnProgress) -> tuple[Measurement, Report]:
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


def write_bart_weights(model: Path, output: Path, backend: str) -> None:
    """Write the weights of a trained Keras model for BART, in a child process that leaves the GPU alone.

    Raises:
        ToolError: It failed.
    """
    program = "from compare.cli import main; main()"
    argv = [sys.executable, "-c", program, "weights", "to-bart", str(model), str(output)]
    environment = {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"}
    finished = process.run(argv, folder=output.parent, environment=environment)
    if finished.returncode != 0:
        raise ToolError(f"weights to-bart {finished.describe()}", argv, finished.returncode, _last_words(finished))


def _with_earlier(measurement: Measurement, report: Report, finished_before: bool) -> Measurement:
    """Add the times of the processes before this one, which continued their training."""
    if finished_before:
        measurement = measurement.without_memory(
            "n/a: the process before this one trained to the end, and its memory was not kept"
        )
    return replace(
        measurement,
        elapsed_s=measurement.elapsed_s + report["earlier_s"],
        cpu_s=measurement.cpu_s + report["earlier_cpu_s"],
        ending=f"{measurement.ending}, continued after {counted(report['continued_from'], 'update')}",
    )


def _progress_reader(on_progress: OnProgress) -> Callable[[str], None]:
    def read(line: str) -> None:
        progress = parse_progress(line)
        if progress:
            on_progress(progress)

    return read


def _last_words(finished: process.Finished) -> tuple[str, ...]:
    return tuple(line.strip() for line in finished.stderr[-3:])
