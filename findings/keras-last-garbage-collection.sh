#!/usr/bin/env bash
# A process that only imports Keras 3.15.1 on TensorFlow 2.21.0 takes 0.6 s of processor time to end.
#
# One expects the import to be all that it costs. But at the end, Python's garbage collector looks at all objects
# that the import made. `gc.freeze()` behind the import, which is public and meant for such objects, leaves them
# out; `gc.disable()` does not help. So each short process, a test or a step of a pipeline, ends late.
#
# The script exits with 0 if the median of five processes needs at least 0.3 s more without `gc.freeze()`, with 1
# otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check keras==3.15.1 tensorflow==2.21.0

KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import resource
import statistics
import subprocess
import sys


def cpu_s(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


programs = {"import": "import keras", "disabled": "import keras, gc; gc.disable()"}
programs |= {"frozen": "import keras, gc; gc.freeze()"}
rounds = [{name: cpu_s(code) for name, code in programs.items()} for _ in range(6)][1:]
medians = {name: statistics.median(each[name] for each in rounds) for name in programs}
print("processor seconds:", {name: round(value, 2) for name, value in medians.items()})
sys.exit(0 if min(medians["import"], medians["disabled"]) - medians["frozen"] > 0.3 else 1)
PYTHON
