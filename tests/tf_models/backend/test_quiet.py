"""What the import of Keras by our programs brings along."""

import subprocess
import sys

CODE = """
import gc
import sys
from tf_models.backend.quiet import import_backend
import_backend()
extras = {"matplotlib", "pandas", "sklearn"} & set(sys.modules)
assert "keras" in sys.modules and not extras, extras
assert gc.get_freeze_count() > 100_000  # what is left out of the last collection, which takes a second
import pandas, sklearn
from tf_models import VarNet
print(VarNet({"iterations": 1}).predict.__name__, pandas.Series([1]).sum())
"""


def test_what_keras_can_do_without_stays_out_and_is_found_afterwards():
    finished = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "predict 1\n", "")
