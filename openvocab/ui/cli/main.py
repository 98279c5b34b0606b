"""The command `openvocab`.

Exit status: 0 success; 1 some images failed, or labels check found something; 2 the command, the input or a model is
invalid; 3 the output cannot be written; 130 and 143 interrupted by Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TextIO

from openvocab.errors import CannotWrite, OpenVocabError, OpenVocabWarning, unknown
from openvocab.pipeline.quiet import show_progress
from openvocab.ui.cli.commands import COMMANDS
from openvocab.ui.cli.config_file import chosen_command, file_of, read_config, use_config
from openvocab.ui.cli.options import option_names, parser
from openvocab.ui.cli.output import complain, name_options

__all__ = ["main"]

UNUSABLE, NOT_WRITTEN, INTERRUPTED = 2, 3, 130


def _quiet_libraries() -> None:
    """Silence the hub client's retries, and the libraries' progress bars unless stderr is a terminal."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    else:
        show_progress()


def _stay_offline() -> None:
    """Disable the network in all client libraries, including those already imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        constants.HF_HUB_OFFLINE = True


class _StderrHandler(logging.Handler):
    """Print this package's log messages."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


def _show_own_warnings() -> None:
    """Print this package's warnings as one line each; other warnings are unchanged."""
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


def _arguments(given: Sequence[str]) -> Namespace:
    """Parse arguments, with the defaults of the file that --config names.

    Raises:
        BadInput: the file cannot be used.
    """
    made = parser()
    name_options(option_names(made))
    command, file = chosen_command(made, given), file_of(given)
    if file is not None and command.prog.split()[1:] not in ([], ["config"]):
        use_config(command, read_config(file), file)
    if command is not made:
        _refuse_unknown_options(command, given)
    return made.parse_args(given)


def _refuse_unknown_options(command: ArgumentParser, given: Sequence[str]) -> None:
    """Leave with the nearest option where one is unknown: argparse names what is missing before what is misspelled."""
    options = [name for action in command._actions for name in action.option_strings if name.startswith("--")]
    for word in given[: given.index("--") if "--" in given else None]:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in options:
            command.error(str(unknown("option", name, options)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: Arguments without the program name; None uses sys.argv.
    """
    try:
        args = _arguments(sys.argv[1:] if argv is None else argv)
    except OpenVocabError as error:
        complain(str(error))
        return UNUSABLE
    _quiet_libraries()
    if args.offline:
        _stay_offline()
    log = logging.getLogger("openvocab")
    if not any(isinstance(handler, _StderrHandler) for handler in log.handlers):
        log.addHandler(_StderrHandler(logging.INFO))
        log.setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # the image's own error says what is wrong
        _show_own_warnings()
        try:
            return COMMANDS[args.command](args)
        except CannotWrite as error:
            complain(str(error))
            return NOT_WRITTEN
        except OpenVocabError as error:
            complain(str(error))
            return UNUSABLE
        except KeyboardInterrupt:
            complain("interrupted")
            return INTERRUPTED
        except BrokenPipeError:  # the reader of stdout, such as head, closed it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            complain(f"{error.filename or 'the output'} cannot be written or read ({error.strerror})")
            return NOT_WRITTEN if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO) else UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
