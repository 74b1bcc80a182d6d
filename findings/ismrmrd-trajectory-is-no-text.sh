#!/usr/bin/env bash
# ismrmrd 1.15.0: `encoding.trajectory == "cartesian"` is False for Cartesian data.
#
# The header's XML says <trajectory>cartesian</trajectory>. One expects the parsed value to compare equal to that
# text. It is a member of a plain Enum: no text equals it, `str` gives "trajectoryType.CARTESIAN", and no warning says
# that a comparison is always False. A program that asks this way takes Cartesian data for something else. The
# counters (matrix sizes) of the same header are numbers, as expected; the values of `ismrmrd.Meta`, on the other
# hand, come back as texts. What works: `encoding.trajectory.value == "cartesian"`.
#
# The script exits with 0 if the comparison is still False and numbers in Meta are still texts, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    ismrmrd==1.15.0 xsdata==26.10 numpy==2.4.6

"$folder/venv/bin/python" -W error - <<'PYTHON'
import sys

import ismrmrd

size = (
    "<matrixSize><x>64</x><y>64</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>200</x><y>200</y><z>5</z></fieldOfView_mm>"
)
header = ismrmrd.xsd.CreateFromDocument(
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
    "<experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>"
    f"<encoding><encodedSpace>{size}</encodedSpace><reconSpace>{size}</reconSpace><encodingLimits/>"
    "<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
)
encoding = header.encoding[0]
assert encoding.encodedSpace.matrixSize.x == 64 and encoding.trajectory.value == "cartesian"

meta = ismrmrd.Meta()
meta["TE"] = 2.5
echo_time = ismrmrd.Meta.deserialize(meta.serialize())["TE"]
print(f'ismrmrd {ismrmrd.__version__}: {encoding.trajectory} == "cartesian" is {encoding.trajectory == "cartesian"}')
print(f"Meta: written {meta['TE']!r}, read {echo_time!r}")
sys.exit(0 if encoding.trajectory != "cartesian" and echo_time == "2.5" else 1)
PYTHON
