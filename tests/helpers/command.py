"""The command line over fake stages, for tests that run it in a process of its own.

usage: command.py SECONDS_PER_IMAGE ARGUMENTS
"""

from __future__ import annotations

import os
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import openvocab
from tests.helpers.stages import LABELS, chain, save_images, tagging


class NoPandas(MetaPathFinder):
    """Hides pandas: pyarrow loads it where it is installed, which takes longer than the job."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)


def main() -> int:
    """Run the command line; print `ready` once a small run has loaded every module that a run needs."""
    sys.meta_path.insert(0, NoPandas())

    from openvocab.ui.cli.main import main as command

    with TemporaryDirectory(ignore_cleanup_errors=True, dir=None if os.access("/tmp", os.W_OK) else ".") as folder:
        tagging().run_to(Path(folder, "run"), save_images(Path(folder, "images"), 2), LABELS)

    pipes = {"tag": tagging(seconds=float(sys.argv[1])), "annotate": chain()}
    vars(openvocab)["load"] = lambda *_, **__: pipes[sys.argv[2]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
