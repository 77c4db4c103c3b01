"""Put pip into an empty virtual environment, in the place of get-pip.py.

ansible-test downloads get-pip.py for the environments of its sanity tests.
This script does the same work with the pip that Python carries, so that the
configured package index is the only thing that the tests need from outside.
"""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

# ensurepip points pip's settings at the null device; pip shall see the real ones.
environment = dict(os.environ)
ensurepip.bootstrap()
# These two are options of get-pip.py and unknown to pip.
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments], env=environment))
