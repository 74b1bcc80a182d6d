"""What the jobs of an experiment ask a cluster for."""

from __future__ import annotations

from pydantic import Field, model_validator

from bart_bridge.reconet.network_settings import Settings


class Slurm(Settings):
    """What a job asks for; a job is a network on an engine, or all baselines (see `compare.running.submit`).

    Attributes:
        partition: Where jobs wait; default that of the cluster.
        account: Who is charged; default that of the user.
        qos: Quality of service; default that of the cluster.
        constraint: Features that a node must have, in Slurm's words.
        time_min: Minutes that a job may take; one that takes longer goes on in the queue from its checkpoint
            (default 240).
        timeouts: How often that may be (default 10).
        warning_s: Seconds before the end in which a job leaves its checkpoint (default 120).
        gpus: GPUs of a job; default `devices` of the experiment if its device is `gpu`, else none.
        cpus: Cores of a job; default `threads` of the experiment, or what the cluster gives.
        memory_gib: Memory of a job; default that of the cluster.
        modules: Loaded by `module load`, in this order.
        setup: Lines of shell that a job begins with, after the modules.
        options: Any other options of `sbatch` by their long names, such as `{mail-type: END}`.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time_min: int = Field(default=240, ge=1)
    timeouts: int = Field(default=10, ge=0)
    warning_s: int = Field(default=120, ge=1)
    gpus: int | None = Field(default=None, ge=0)
    cpus: int | None = Field(default=None, ge=1)
    memory_gib: float | None = Field(default=None, gt=0)
    modules: list[str] = Field(default=[])
    setup: list[str] = Field(default=[])
    options: dict[str, str | int] = Field(default={})

    @model_validator(mode="after")
    def _in_time(self) -> Slurm:
        if self.warning_s >= 60 * self.time_min:
            raise ValueError(f"warning_s must be less than time_min, received {self.warning_s} s, {self.time_min} min")
        return self
