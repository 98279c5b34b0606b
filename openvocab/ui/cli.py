"""The command `openvocab`.

Exit status: 0 all went well; 1 some pictures could not be read, the others were done; 2 the command, the input or a
model cannot be used, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from openvocab.errors import OpenVocabError, OpenVocabWarning
from openvocab.ui.commands import COMMANDS
from openvocab.ui.options import parser
from openvocab.ui.output import complain

__all__ = ["main"]

UNUSABLE, INTERRUPTED = 2, 130


def _quiet_libraries() -> None:
    """Keep the progress bars of the model libraries off a stderr that is no terminal."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")


def _show_plainly() -> None:
    """Print this package's warnings as one line each, and leave those of others as they are."""
    others = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, OpenVocabWarning):
            complain(f"warning: {message}")
        else:
            others(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: the arguments, without the name of the program; None takes those of the process.
    """
    args = parser().parse_args(argv)
    _quiet_libraries()
    with warnings.catch_warnings():
        _show_plainly()
        try:
            return COMMANDS[args.command](args)
        except OpenVocabError as error:
            complain(str(error))
            return UNUSABLE
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # the reader of stdout, such as head, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            complain(f"{error.filename or 'the output'} cannot be written or read ({error.strerror})")
            return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
