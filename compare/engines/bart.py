"""The engine that runs `bart reconet`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.data.slices import along_batch, first_slice
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import atomic, cfl
from bart_bridge.reconet import commands
from bart_bridge.reconet.divergence import DivergenceWatch
from bart_bridge.reconet.history import after_epochs, read_history
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.training_settings import stages
from bart_bridge.tools import process
from bart_bridge.tools.parallel import THREADS
from bart_bridge.tools.toolbox import Toolbox, failure
from compare.engines.base import Device, History, Inference, OnProgress, TrainingTask, check_output, remove_array
from compare.measuring import monitor, nvidia
from compare.measuring.memory_sampling import high_water_bytes
from compare.measuring.monitor import MeasuredError, Measurement
from compare.settings.engine_names import BART, EngineName, memory_plan


@dataclass(frozen=True)
class _Stage:
    """One `reconet --train`: its network and epochs, where it starts, what it writes, and the updates before it."""

    network: Network
    epochs: int
    initial: Path
    weights: Path
    history: Path
    earlier_updates: int


class BartEngine:
    """`bart reconet`."""

    backend = ""
    weights_name = "weights"

    def __init__(self, toolbox: Toolbox, device: Device, threads: int, name: EngineName = BART) -> None:
        self.name = name
        self.memory_plan = memory_plan(name)
        if device == "gpu" and not toolbox.has_cuda:
            raise InputError(f"device: {toolbox.path} was built without CUDA, 'gpu' needs a BART with it")
        self.toolbox = toolbox
        self.version = toolbox.version_text
        self._gpu = device == "gpu"
        self._environment = dict.fromkeys(THREADS, str(threads))
        self._environment |= nvidia.device_order() if self._gpu else {}
        self._baseline: int | None = None

    def train(self, task: TrainingTask, on_progress: OnProgress) -> tuple[Measurement, list[History]]:
        """Train in one `reconet` command for each stage."""
        assert task.devices == 1, "refused by the configuration"
        total: Measurement | None = None
        histories: list[History] = []
        plan = stages(task.network, task.training)
        earlier_epochs, initial = 0, task.initial
        for number, (network, epochs) in enumerate(plan, start=1):
            last = number == len(plan)
            stage = _Stage(
                network,
                epochs,
                initial,
                weights=task.folder / (self.weights_name if last else f"weights-stage{number}"),
                history=task.folder / f"history-stage{number}",
                earlier_updates=sum(columns["loss"].size for columns in histories),
            )
            measurement = self._train_stage(task, stage, after_epochs(on_progress, earlier_epochs))
            histories.append(read_history(stage.history, network, validated=task.validation is not None))
            total = measurement if total is None else total.followed_by(measurement)
            earlier_epochs, initial = earlier_epochs + epochs, stage.weights
        assert total is not None
        return total, histories

    def _train_stage(self, task: TrainingTask, stage: _Stage, on_progress: OnProgress) -> Measurement:
        for path in (stage.weights, stage.history):
            remove_array(path)
        batch_size = min(task.training.batch_size, task.split.slice_count)
        updates = stage.epochs * (task.split.slice_count // batch_size)
        watch = DivergenceWatch(on_progress, updates, stage.earlier_updates, validated=task.validation is not None)
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}along-batch-", dir=task.folder) as name:
            slices = along_batch(task.split, Path(name) / "train")
            validation = task.validation and along_batch(task.validation, Path(name) / "validation")
            files = commands.TrainingFiles(slices, stage.weights, stage.initial, stage.history, validation)
            argv = commands.train_argv(self.toolbox, stage.network, task.training, stage.epochs, files, gpu=self._gpu)
            if self.memory_plan:
                argv.insert(argv.index("--train") + 1, "--lowmem")
            finished, measurement = self._run(argv, task.folder, watch)
        try:
            watch.check()
            commands.check_trained(argv, finished, stage.network, stage.weights, stage.history, stage.earlier_updates)
        except ToolError as error:
            remove_array(stage.weights)
            raise MeasuredError(error, measurement) from None
        return measurement

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct with one `reconet` command."""
        remove_array(output)
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}along-batch-", dir=folder) as name:
            slices = along_batch(split, Path(name) / "slices")
            argv = commands.apply_argv(self.toolbox, network, slices, weights, output, gpu=self._gpu)
            finished, measurement = self._run(argv, folder)
        if finished.returncode != 0:
            raise MeasuredError(failure(argv, finished), measurement)
        check_output(output, measurement)
        return measurement

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time commands for all slices and for one: the difference is without the start of the command."""
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}one-slice-", dir=folder) as name:
            single_slice, output = first_slice(split, Path(name)), Path(name) / "images"
            total = first = self.apply(folder, network, single_slice, weights, output)
            wall_s, cpu_s = [], []
            for _ in range(calls if split.slice_count > 1 else 0):
                single = self.apply(folder, network, single_slice, weights, output)
                whole = self.apply(folder, network, split, weights, output)
                total = total.followed_by(single).followed_by(whole)
                wall_s.append((whole.elapsed_s - single.elapsed_s) / (split.slice_count - 1))
                cpu_s.append((whole.cpu_s - single.cpu_s) / (split.slice_count - 1))
        definition = "difference of a command for all test slices and one for a slice, by the number of further slices"
        if not wall_s:
            definition = "n/a: a difference needs two test slices or more"
        return total, Inference(
            first.elapsed_s, wall_s, cpu_s, definition, "first command for one slice, with its start"
        )

    def _run(
        self, argv: list[str], folder: Path, on_line: Callable[[str], bool | None] | None = None
    ) -> tuple[process.Finished, Measurement]:
        if self._baseline is None and not self.toolbox.package:
            self._baseline = self._measure_baseline(folder)
        finished, measurement = monitor.run(argv, folder, self._environment, on_line)
        if package := self.toolbox.package:
            reason = f"n/a: this BART is that of {package}, whose process has PyTorch in its memory, too"
            measurement = replace(measurement, allocator_note="n/a: BART keeps no such count")
            return finished, measurement.without_main_memory(reason)
        note = "high-water mark of the resident set of bart fft of 8 x 8 zeros"
        return finished, replace(
            measurement,
            baseline_rss_bytes=self._baseline,
            baseline_note=note if self._baseline else "n/a: bart fft failed",
            allocator_note="n/a: BART keeps no such count",
        )

    def _measure_baseline(self, folder: Path) -> int | None:
        """Return the memory of BART after its start and a small kernel; None if that fails."""
        with tempfile.TemporaryDirectory(prefix=f"{atomic.PREFIX}baseline-", dir=folder) as name:
            zeros = Path(name) / "zeros"
            cfl.write(zeros, np.zeros((8, 8), np.complex64))
            argv = self.toolbox.argv("fft", "3", zeros, Path(name) / "out")
            return high_water_bytes(argv, Path(name), self._environment)
