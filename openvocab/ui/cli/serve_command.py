"""`openvocab serve`: the web demo."""

from __future__ import annotations

import ipaddress
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab.errors import BadInput, counted, require
from openvocab.ui.cli.batch_commands import listening
from openvocab.ui.cli.output import complain
from openvocab.ui.cli.shared_options import DEVICE_HELP, DTYPE_HELP
from openvocab.ui.web.limits import Limits

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.served.folder import ServedFolder
    from openvocab.ui.web.server import ServerOptions

__all__ = ["add_options", "is_loopback", "serve"]

_ACCOUNT = "OPENVOCAB_AUTH"
_MEGABYTE = 2**20
_DEFAULTS = Limits()
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_SERVER_STOPPED = 2


def add_options(command: ArgumentParser, default_preset: str) -> None:
    """Add the arguments of `openvocab serve` to its parser."""
    command.add_argument("folder", nargs="?", metavar="FOLDER", help="images or a run folder to work through")
    command.add_argument(
        "--out", metavar="RUN", help="run folder of FOLDER's answers and corrections (default: FOLDER-run)"
    )
    command.add_argument("--import", dest="labels", metavar="PATH", help=_IMPORT_HELP)
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument(
        "--port", type=int, default=7860, metavar="N", help="port to listen on, 0 for a free one (default: %(default)s)"
    )
    command.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        help=f"preset to offer; repeat for more, the first one is loaded at startup (default: {default_preset})",
    )
    command.add_argument("--segmenter", metavar="SPEC", help="segmenter in place of the presets', as FAMILY:CHECKPOINT")
    command.add_argument("--device", help=DEVICE_HELP)
    command.add_argument("--dtype", help=DTYPE_HELP)
    command.set_defaults(default_preset=default_preset)
    group = command.add_argument_group("visitors")
    group.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help=f"require a login; the environment variable {_ACCOUNT} hides it from the process list",
    )
    group.add_argument("--insecure", action="store_true", help="allow access from other machines without --auth")
    group.add_argument(
        "--max-upload", type=int, default=_DEFAULTS.upload_bytes // _MEGABYTE, metavar="MB", help=_UPLOAD_HELP
    )
    group.add_argument(
        "--max-stored", type=int, default=_DEFAULTS.stored_bytes // _MEGABYTE, metavar="MB", help=_STORED_HELP
    )
    group.add_argument("--max-pixels", type=int, default=_DEFAULTS.pixels, metavar="N", help=_PIXELS_HELP)
    group.add_argument("--queue", type=int, default=_DEFAULTS.waiting, metavar="N", help=_QUEUE_HELP)
    group.add_argument("--mcp", action="store_true", help="also offer the API as MCP tools (extra: mcp)")


_IMPORT_HELP = (
    "take labels of FOLDER's images from a COCO JSON file, or from a YOLO folder or its data.yaml, as answers"
)
_UPLOAD_HELP = "maximum size of an uploaded file in megabytes (default: %(default)s)"
_STORED_HELP = "maximum size of all uploads in megabytes; they are deleted after an hour (default: %(default)s)"
_PIXELS_HELP = "maximum width times height of an image (default: %(default)s)"
_QUEUE_HELP = 'maximum number of queued requests; more get "busy" at once (default: %(default)s)'


def is_loopback(host: str) -> bool:
    """Whether an address or host name is only reachable from this machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def serve(args: Namespace) -> int:
    """Serve the page until a signal arrives, and return the exit status.

    Raises:
        BadInput: an option is invalid, the port is in use, or other machines can reach the host and --auth is missing.
        MissingExtra: gradio, or with --mcp the package mcp, is not installed.
    """
    accounts, limits = _accounts(args), _limits(args)
    if not is_loopback(args.host) and not accounts:
        if not args.insecure:
            raise BadInput(
                f"other machines can reach {args.host}; require a login with --auth USER:PASSWORD, or add --insecure"
            )
        complain(f"warning: everyone who can reach {args.host} can use this page, since --insecure is given")
    os.environ.update(_QUIET)
    require("gradio", extra="web")
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models
    from openvocab.ui.web.server import ServerOptions

    names = tuple(args.preset or [args.default_preset])
    models = Models(names, args.device, args.dtype, segmenter=args.segmenter)
    options = ServerOptions(args.host, args.port, accounts, any_host=args.insecure, mcp=args.mcp)
    with _served(args, limits) as folder:
        folders = () if folder is None else (folder.folder,)
        return _until_signal(Context(models, limits, folders, folder), options)


@contextmanager
def _served(args: Namespace, limits: Limits) -> Iterator[ServedFolder | None]:
    """Open the folder that is worked through, if one is given.

    Raises:
        BadInput: --out or --import has no folder to belong to, or see serving and import_labels.
        CannotWrite: see serving.
    """
    if args.folder is None:
        if args.out is not None or args.labels is not None:
            raise BadInput("--out and --import belong to a folder; give openvocab serve FOLDER")
        yield None
        return
    from openvocab.ui.web.served.folder import serving
    from openvocab.ui.web.served.imports import import_labels

    with serving(Path(args.folder), None if args.out is None else Path(args.out), limits.pixels) as folder:
        if args.labels is not None:
            count = import_labels(folder, args.labels)
            complain(f"imported the labels of {counted(count, 'image')} from {args.labels}")
        complain(f"{counted(len(folder.entries), 'image')}; answers and corrections are kept in {folder.run}")
        yield folder


def _until_signal(context: Context, options: ServerOptions) -> int:
    from openvocab.ui.web.server import run_server

    with run_server(context, options) as served, listening() as stop:
        complain(f"ready at {served.url}; press Ctrl-C to stop")
        while served.thread.is_alive() and not stop():
            served.thread.join(timeout=0.2)
    return stop.status if stop() else _SERVER_STOPPED


def _accounts(args: Namespace) -> tuple[tuple[str, str], ...]:
    """Return the account of --auth or of the environment variable.

    Raises:
        BadInput: it is not of the form USER:PASSWORD.
    """
    source = "--auth" if args.auth is not None else _ACCOUNT
    given = os.environ.get(_ACCOUNT) if args.auth is None else args.auth
    if given is None:
        return ()
    user, _, password = given.partition(":")
    if not user.strip() or not password:
        raise BadInput(f"{source} must be a user and a password separated by a colon; give USER:PASSWORD")
    return ((user.strip(), password),)


def _limits(args: Namespace) -> Limits:
    """Return the limits given as options.

    Raises:
        BadInput: a limit is less than 1, or the port is invalid.
    """
    for name in ("max_upload", "max_stored", "max_pixels", "queue"):
        if getattr(args, name) < 1:
            raise BadInput(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    if not 0 <= args.port <= 65535:
        raise BadInput(f"--port must be from 0 to 65535, got {args.port}")
    return Limits(
        upload_bytes=args.max_upload * _MEGABYTE,
        stored_bytes=args.max_stored * _MEGABYTE,
        pixels=args.max_pixels,
        waiting=args.queue,
    )
