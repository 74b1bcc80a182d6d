"""Run one command as the only child of a small process and report what it used. Started by `process.run`.

Linux counts a child's peak memory from the size of the process that forked it, so a child of a large Python process
would be read as large. This file imports next to nothing and is that small process (about 10 MiB, the least it can
report). It also ends the command when its own standard input closes: when the process that asked for it is gone,
killed or not.

Usage: python -I -S _launcher.py REPORT_FD[,FD...] COMMAND...
Further descriptors are kept open until it ends, for locks that are to last as long.
"""

# The C module of `signal`, which makes enumerations of the numbers: that takes half of the start of this process.
import _signal as signal  # type: ignore[import-not-found]
import _thread
import os
import sys
import time

GRACE_S = 3


def main() -> None:
    descriptors, argv = [int(number) for number in sys.argv[1].split(",")], sys.argv[2:]
    report_fd = descriptors[0]
    for number in descriptors:
        os.set_inheritable(number, False)
    no_input = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    # Slurm signals all processes of a job: this one must outlive the command, which hears of it by SIGTERM only.
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # Python ignores two others; the command would inherit that.
    default = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM]
    start_s = time.perf_counter()
    # A group of its own, so that what the command starts ends with it.
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=no_input, setpgroup=0, setsigdef=default)
    report(report_fd, f"{pid}\n")

    def end_with_parent() -> None:
        os.read(0, 1)
        for number in (signal.SIGTERM, signal.SIGKILL):
            end_group(pid, number)
            time.sleep(GRACE_S)

    _thread.start_new_thread(end_with_parent, ())
    # Not reaped before its group is ended: until then no other process can have its number.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    elapsed_s = time.perf_counter() - start_s
    end_group(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    cpu_s, peak_rss_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    result = f"{os.waitstatus_to_exitcode(status)} {elapsed_s} {cpu_s} {peak_rss_bytes} {own_peak_bytes()}\n"
    report(report_fd, result)
    # At once: the thread must not wake up to a number that is no longer ours.
    os._exit(0)


def report(file: int, line: str) -> None:
    try:
        os.write(file, line.encode())
    except BrokenPipeError:  # who asked was interrupted: the command must still be ended
        pass


def own_peak_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def end_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


main()
