"""A Slurm of one node, for tests: munged, slurmctld and slurmd, with a key, ports and folders of their own.

Usage: python -m tests.compare.running.slurm_cluster, for a shell in which `sbatch` and the others find it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
_TIMEOUT_S = 60

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
KillWait=30
MinJobAge=300
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Say why there can be no Slurm here; empty if there can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if absent:
        return f"Slurm is not installed (no {', '.join(absent)}); make slurm installs it"
    return "" if os.geteuid() == 0 else "munged and slurmd must be started by root"


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Run the cluster for the `with` block.

    Yields:
        The environment in which Slurm's commands use it.
    """
    with ExitStack() as stack:
        # Directly in /tmp: the path of a socket has an end, and munged wants folders that only root can write.
        folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o755)
        host = socket.gethostname().split(".")[0]
        settings = {"host": host, "controller": _free_port(), "node": _free_port(), "cpus": os.cpu_count() or 1}
        (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, **settings))
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        environment["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        munge = folder / "munge"
        arguments = [f"--{name}-file={munge / name}" for name in ("log", "pid", "seed")]
        daemons = (
            ["munged", "--foreground", "--force", f"--socket={munge / 'socket'}", f"--key-file={key}", *arguments],
            ["slurmctld", "-D", "-i"],
            ["slurmd", "-D", "-N", host],
        )
        for argv in daemons:
            _start(argv, folder, environment, stack)
            if argv[0] == "munged":
                _wait("munged", lambda: (munge / "socket").exists(), folder)
        _wait("the node", lambda: "idle" in _output(["sinfo", "--noheader", "--format=%t"], environment), folder)
        yield environment


def _start(argv: list[str], folder: Path, environment: dict[str, str], stack: ExitStack) -> None:
    output = stack.enter_context((folder / f"{argv[0]}.out").open("w"))
    path = shutil.which(argv[0], path=environment["PATH"])
    process = subprocess.Popen([path, *argv[1:]], env=environment, stdout=output, stderr=output)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(stop)


def _wait(what: str, ready, folder: Path) -> None:
    end_s = time.monotonic() + _TIMEOUT_S
    while not ready():
        if time.monotonic() > end_s:
            logs = [f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in folder.glob("*.out")]
            raise RuntimeError(f"{what} did not come up; " + "\n".join(logs))
        time.sleep(0.1)


def _output(argv: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False).stdout


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    with cluster() as shell:
        subprocess.run([os.environ.get("SHELL", "/bin/sh")], env=shell, check=False)
