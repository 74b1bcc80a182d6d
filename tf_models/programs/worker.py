"""The child process of a Keras engine: train or apply one network as a job file describes.

    python -m tf_models.programs.worker JOB.json

The environment variable KERAS_BACKEND chooses the backend. Progress goes to standard output in the format of `bart
reconet`, so one reader serves both engines.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bart_bridge.data.dataset import Split
from bart_bridge.errors import BartTfError, DivergedError, ToolError, why_unreadable
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import from_batch_map_yx
from bart_bridge.reconet import weights
from bart_bridge.reconet.history import Progress
from bart_bridge.reconet.network_settings import MemoryPlan, Network
from bart_bridge.reconet.training_settings import Training, stages
from tf_models.backend.quiet import import_backend

if TYPE_CHECKING:
    from tf_models.training.checkpoint import Checkpoints


class TrainJob(BaseModel):
    """Train a network.

    Attributes:
        network: The network to train.
        training: How to train it.
        split: Slices with a reference.
        initial: BART weights file of the first stage's network to start from.
        output: File of the trained model, ends with `.keras`.
        histories: A `.npz` file for each stage.
        device: `cpu` or `gpu`; it is an error if Keras sees no GPU. Defaults to `cpu`.
        validation: Slices to measure after each epoch. Defaults to none.
        report: JSON file for what this process observes of itself, or for where and why a training diverged. Defaults
            to none.
        memory: Memory plan, see `tf_models.networks.unrolled.UnrolledNetwork`. Defaults to `plain`.
        checkpoint: Folder of the checkpoint, see `tf_models.training.checkpoint`. The training continues from the
            checkpoint of an earlier process of the same job. On SIGTERM it writes one after the current batch and ends
            with exit code 75. Defaults to none.
        devices: Number of devices that share each batch, see `tf_models.training.data_parallel`. Of several processes,
            the first one writes. Defaults to 1.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["train"] = "train"
    network: Network
    training: Training
    split: Split
    initial: Path
    output: Path
    histories: list[Path]
    device: Literal["cpu", "gpu"] = "cpu"
    validation: Split | None = None
    report: Path | None = None
    memory: MemoryPlan = "plain"
    checkpoint: Path | None = None
    devices: int = 1


class ApplyJob(BaseModel):
    """Reconstruct slices.

    Attributes:
        network: The network of a BART weights file; a `.keras` file knows its own.
        split: The slices.
        weights: A `.keras` file or a BART weights file.
        output: BART array for the images.
        batch_size: Slices at a time, at least 1. Defaults to 10.
        device: `cpu` or `gpu`; it is an error if Keras sees no GPU. Defaults to `cpu`.
        report: JSON file for what this process observes of itself. Defaults to none.
        timed_calls: How often to reconstruct the first slice again to time it, after one call more that compiles.
            Defaults to 0, no timing.
        memory: Memory plan, see `tf_models.networks.unrolled.UnrolledNetwork`; it replaces that of a `.keras` file.
            Defaults to `plain`.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["apply"] = "apply"
    network: Network
    split: Split
    weights: Path
    output: Path
    batch_size: int = 10
    device: Literal["cpu", "gpu"] = "cpu"
    report: Path | None = None
    timed_calls: int = 0
    memory: MemoryPlan = "plain"


def train(job: TrainJob) -> dict[str, Any]:
    """Run a training job; the model is written last.

    Returns:
        What an earlier process did of the job: `continued_from` updates, `earlier_s` wall time and `earlier_cpu_s`;
        empty for a training from the start.
    """
    from tf_models.files import model_files
    from tf_models.training.batches import TrainingData
    from tf_models.training.data_parallel import process_index
    from tf_models.training.fit import Execution
    from tf_models.training.fit import train as train_network
    from tf_models.training.history import Hooks

    first_stage = stages(job.network, job.training)[0][0]
    initial = weights.read(job.initial, first_stage)
    checkpoints = _open_checkpoints(job, job.checkpoint) if job.checkpoint else None
    first_process = process_index() == 0
    model, histories = train_network(
        job.network,
        job.training,
        TrainingData(job.split, job.validation),
        initial,
        Execution(job.memory, job.devices, checkpoints),
        Hooks(on_batch=_print) if first_process else None,
    )
    if not first_process:
        return {}
    for path, history in zip(job.histories, histories, strict=True):
        atomic.write_arrays(path, history)
    model_files.save(model, job.output)
    state = checkpoints.state if checkpoints else None
    if state is None:
        return {}
    return {"continued_from": state.updates, "earlier_s": state.elapsed_s, "earlier_cpu_s": state.cpu_s}


def checkpoint_settings(job: TrainJob) -> dict[str, Any]:
    """Return the settings that a checkpoint belongs to, as JSON keeps them."""
    settings = job.model_dump(mode="json", include={"network", "device", "memory", "devices"})
    return settings | {"training": job.training.flat()}


def _open_checkpoints(job: TrainJob, folder: Path) -> Checkpoints:
    from tf_models.training.checkpoint import Checkpoints, fingerprint

    splits = [split for split in (job.split, job.validation) if split is not None]
    checkpoints = Checkpoints(folder, fingerprint(job.initial, splits, checkpoint_settings(job)))
    if checkpoints.state:
        print(f"continues after {checkpoints.state.updates} updates, from {checkpoints.path}", flush=True)  # noqa: T201
    if checkpoints.ignored:
        print(checkpoints.ignored, flush=True)  # noqa: T201
    checkpoints.listen()
    return checkpoints


def apply(job: ApplyJob) -> dict[str, Any]:
    """Run a reconstruction job and return the times of calls, see `tf_models.programs.process_report.time_calls`."""
    from tf_models.backend.channels import channels_to_complex
    from tf_models.files import model_files
    from tf_models.networks.build import build
    from tf_models.programs import process_report
    from tf_models.training.batches import SliceBatches, feed

    if job.weights.suffix == ".keras":
        model = model_files.load(job.weights)
        model.memory = job.memory
    else:
        model = build(job.network, weights.read(job.weights, job.network), memory=job.memory)
    # Each slice is needed once.
    batches = SliceBatches(replace(job.split, reference=None), job.batch_size, memory_limit_bytes=0)
    images = model.predict(feed(batches), verbose=0)
    cfl.write(job.output, from_batch_map_yx(channels_to_complex(images)))
    if not job.timed_calls:
        return {}
    inputs = SliceBatches(replace(job.split, reference=None), 1, memory_limit_bytes=0)[0][0]
    return process_report.time_calls(model, inputs, job.timed_calls)


def main() -> int:
    """Run the job of the command line and return the exit code."""
    adapter: TypeAdapter[TrainJob | ApplyJob] = TypeAdapter(Annotated[TrainJob | ApplyJob, Field(discriminator="kind")])
    job = adapter.validate_json(Path(sys.argv[1]).read_bytes())
    try:
        import_backend()
        _run(job)
    except BartTfError as error:
        print(error, file=sys.stderr)  # noqa: T201
        if isinstance(error, DivergedError):
            _write_report(job, {"diverged_at_update": error.diverged_at_update, "reason": error.reason}, indent=None)
        return error.exit_code
    except OSError as error:
        print(f"{error.filename or job.output}: {why_unreadable(error)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _run(job: TrainJob | ApplyJob) -> None:
    from tf_models.programs import process_report
    from tf_models.training.data_parallel import prepare

    if isinstance(job, TrainJob):
        prepare(job.devices, job.device)
    _check_device(job.device)
    observations: dict[str, Any] = {"baseline_rss_bytes": process_report.baseline_rss_bytes()}
    observations = (train(job) if isinstance(job, TrainJob) else apply(job)) | observations
    if job.report:
        peak_bytes, note = process_report.allocator_peak_bytes(job.device)
        _write_report(job, observations | {"allocator_peak_bytes": peak_bytes, "allocator_note": note}, indent=1)


def _write_report(job: TrainJob | ApplyJob, content: dict[str, Any], indent: int | None) -> None:
    from tf_models.training.data_parallel import process_index

    if job.report and process_index() == 0:
        job.report.write_text(json.dumps(content, indent=indent) + "\n")


def _check_device(device: str) -> None:
    import keras

    from tf_models.backend.devices import sees_gpu

    if device == "gpu" and not sees_gpu():
        raise ToolError(f"device: {keras.backend.backend()} sees no GPU, 'gpu' needs one")


def _print(progress: Progress) -> None:
    line = f"#{progress.epoch}->{progress.batch}/{progress.batches}; loss: {progress.loss:e};"
    print(line, flush=True)  # noqa: T201


def run() -> NoReturn:
    """Run the job of the command line and end this process, after a failure without what Python does at its end.

    With TensorFlow, a training that ends half way leaves a thread of `tf.data` that prepares the next batch in Python.
    TensorFlow waits for that thread when Python removes the last objects, and by then no thread can enter Python any
    more: the process would wait for ever.
    """
    try:
        exit_code = main()
    except Exception:  # noqa: BLE001  shown as Python shows it
        traceback.print_exc()
        exit_code = 1
    if exit_code and os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


if __name__ == "__main__":
    run()
