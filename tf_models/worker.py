"""The child process of a Keras engine: train or apply one network, as a job file says.

    python -m tf_models.worker JOB.json

The backend is the one of the environment variable KERAS_BACKEND. Progress goes to standard output in the form of
`bart reconet`, so that one reader serves both engines.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bart_bridge import cfl, weights
from bart_bridge.dataset import Split
from bart_bridge.dims import from_batch_coil_yx
from bart_bridge.errors import BartTfError, ToolError
from bart_bridge.reconet import Progress
from bart_bridge.settings import MemoryPlan, Network, Training, stages


class TrainJob(BaseModel):
    """Train a network.

    Attributes:
        split: Slices with a reference.
        initial: BART weights file to start from, of the first stage's network.
        output: The trained model, a `.keras` file.
        histories: One `.npz` for each stage.
        device: `cpu` or `gpu`; refused if Keras sees no GPU.
        validation: Slices to be measured after each epoch.
        report: Where what this process observed of itself goes, JSON.
        memory: See `tf_models.unrolled.UnrolledNetwork`.
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


class ApplyJob(BaseModel):
    """Reconstruct slices.

    Attributes:
        split: The slices.
        weights: A `.keras` file, or a BART weights file.
        output: BART array of the images.
        batch_size: Slices at a time.
        device: `cpu` or `gpu`; refused if Keras sees no GPU.
        report: Where what this process observed of itself goes, JSON.
        timed_calls: Reconstruct the first slice this often again, and once before, to time it (default 0: not at all).
        memory: See `tf_models.unrolled.UnrolledNetwork`; the one of a `.keras` file does not matter.
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
    """Run a training job; the model is written last."""
    from tf_models import training

    first_stage = stages(job.network, job.training)[0][0]
    model, histories = training.train_slices(
        job.network,
        job.training,
        job.split,
        weights.read(job.initial, first_stage),
        on_batch=_print,
        validation=job.validation,
        memory=job.memory,
    )
    for path, history in zip(job.histories, histories, strict=True):
        np.savez(path, allow_pickle=False, **history)
    temporary = job.output.with_name(f"unfinished-{job.output.name}")
    model.save(temporary)
    temporary.replace(job.output)
    return {}


def apply(job: ApplyJob) -> dict[str, Any]:
    """Run a reconstruction job and return the times of calls, see `tf_models.observe.time_calls`."""
    import keras

    from tf_models import inputs, observe, training
    from tf_models.streaming import SliceBatches, feed

    if job.weights.suffix == ".keras":
        model = keras.saving.load_model(job.weights, compile=False)
        model.memory = job.memory
    else:
        model = training.build(job.network, weights.read(job.weights, job.network), memory=job.memory)
    # Each slice is needed once.
    batches = SliceBatches(replace(job.split, reference=None), job.batch_size, memory_limit_bytes=0)
    images = model.predict(feed(batches), verbose=0)
    cfl.write(job.output, from_batch_coil_yx(inputs.to_complex(images)[:, None]))
    if not job.timed_calls:
        return {}
    return observe.time_calls(model, inputs.network_inputs(job.split, slice(0, 1)), job.timed_calls)


def main() -> int:
    """Run the job of the command line."""
    from tf_models import observe

    adapter: TypeAdapter[TrainJob | ApplyJob] = TypeAdapter(Annotated[TrainJob | ApplyJob, Field(discriminator="kind")])
    job = adapter.validate_json(Path(sys.argv[1]).read_bytes())
    try:
        _check_device(job.device)
        baseline_rss_bytes = observe.baseline_rss_bytes()
        observed = train(job) if isinstance(job, TrainJob) else apply(job)
        if job.report:
            peak_bytes, note = observe.allocator_peak_bytes(job.device)
            observed |= {"baseline_rss_bytes": baseline_rss_bytes}
            observed |= {"allocator_peak_bytes": peak_bytes, "allocator_note": note}
            job.report.write_text(json.dumps(observed, indent=1) + "\n")
    except BartTfError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


def _check_device(device: str) -> None:
    import keras

    if device == "gpu" and not _sees_gpu(keras.backend.backend()):
        raise ToolError(f"device: {keras.backend.backend()} sees no GPU, 'gpu' needs one")


def _sees_gpu(backend: str) -> bool:
    """Whether the backend sees a GPU; `keras.distribution.list_devices` knows it under TensorFlow only."""
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    import keras

    return bool(keras.distribution.list_devices("gpu"))


def _print(progress: Progress) -> None:
    line = f"#{progress.epoch}->{progress.batch}/{progress.batches}; loss: {progress.loss:e};"
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
