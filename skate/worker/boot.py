"""A script: the first lines that the interpreter of an environment runs. It need not have skate, if it is of the same version.

Arguments: the version that the cluster runs, then what `start_anew` wants, and last where skate and what it needs is.
"""

import os
import sys

_version = f"{sys.version_info[0]}.{sys.version_info[1]}"
if _version != sys.argv[1]:
    sys.exit(f"the environment has Python {_version}, and this cluster runs {sys.argv[1]}: they must be the same")
_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
sys.path += [path for path in sys.argv[5:] if path not in sys.path]

from skate.worker.environment import start_anew  # noqa: E402

start_anew(sys.argv[2:5])
