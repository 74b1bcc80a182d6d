#!/usr/bin/env bash
# TensorFlow 2.21.0: TF_CPP_MIN_LOG_LEVEL=3 does not silence the import.
#
# The variable is documented to filter messages of the C++ code: 3 leaves nothing but fatal errors. Seen with the CPU
# package on Python 3.11 and 3.12: `import tensorflow` still writes its lines about oneDNN and missing CUDA drivers to
# standard error, because they come before the level is read. A program whose standard error belongs to its user must
# redirect the file descriptor during the import.
#
# The script exits with 0 if the import still writes to standard error at level 3, and with 1 if it is silent.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tensorflow==2.21.0

TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" -c 'import tensorflow' 2>"$folder/stderr"
if [ ! -s "$folder/stderr" ]; then
    echo "TensorFlow 2.21.0 imports in silence at level 3: the finding no longer holds" >&2
    exit 1
fi
echo "TensorFlow 2.21.0 at level 3 writes while it is imported:"
cut -c1-100 "$folder/stderr"
