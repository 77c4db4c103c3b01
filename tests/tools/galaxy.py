"""Build the tarball and let Galaxy's importer look at it, in the current directory."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tempfile

with tempfile.TemporaryDirectory() as output:
    subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", output], check=True)
    (tarball,) = pathlib.Path(output).glob("*.tar.gz")
    sys.exit(subprocess.call([sys.executable, "-m", "galaxy_importer.main", str(tarball)], cwd=output))
