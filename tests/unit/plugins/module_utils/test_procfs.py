"""What a process says of its own memory is its own."""

from __future__ import annotations

import subprocess
import sys

from ansible_collections.matrixon.ops.plugins.module_utils import _procfs

# A large process that starts a small one.
LARGE = """
import subprocess, sys
held = bytearray(200_000_000)
small = [sys.executable, "-c", "print(open('/proc/self/status').read())"]
print(subprocess.run(small, capture_output=True, text=True, check=True).stdout)
"""


def test_the_memory_of_the_starter_is_not_counted() -> None:
    status = subprocess.run([sys.executable, "-c", LARGE], capture_output=True, text=True, check=True).stdout
    peak = _procfs.peak_memory(status)
    assert peak is not None and 1e6 < peak < 100e6


def test_a_kernel_that_does_not_count_says_nothing() -> None:
    assert _procfs.peak_memory("Name:\tpython3\nVmSize:\t  1 kB\n") is None
    assert _procfs.peak_memory("VmHWM:\t   13624 kB\n") == 13624 * 1024
