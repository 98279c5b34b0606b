"""`openvocab serve`: the web demo."""

from __future__ import annotations

import ipaddress
import os
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from typing import TYPE_CHECKING

from openvocab.errors import BadInput, require
from openvocab.ui.cli.batch_commands import listening
from openvocab.ui.cli.output import complain
from openvocab.ui.web.context import Limits

if TYPE_CHECKING:
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.server import ServerOptions

__all__ = ["add_options", "is_loopback", "serve"]

_ACCOUNT = "OPENVOCAB_AUTH"
_MEGABYTE = 2**20
_USUAL = Limits()
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_ENDED = 2


def add_options(command: ArgumentParser, usual_preset: str) -> None:
    """Add the arguments of `openvocab serve` to its parser."""
    command.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: %(default)s)")
    command.add_argument("--port", type=int, default=7860, metavar="N", help="0: a free one (default: %(default)s)")
    command.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        help=f"models to offer, the first of them loaded at once; may be given again (default: {usual_preset})",
    )
    command.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    command.add_argument("--dtype", help="float32, bfloat16 or float16 (default: what suits the device)")
    command.set_defaults(usual_preset=usual_preset)
    group = command.add_argument_group("visitors")
    group.add_argument(
        "--auth",
        metavar="USER:PASSWORD",
        help=f"who may come in; in the environment as {_ACCOUNT} it is not seen in the list of processes",
    )
    group.add_argument("--insecure", action="store_true", help="let others than this machine come in without --auth")
    group.add_argument("--max-upload", type=int, default=_USUAL.upload_bytes // _MEGABYTE, metavar="MB", help=_MOST_MB)
    group.add_argument(
        "--max-stored", type=int, default=_USUAL.stored_bytes // _MEGABYTE, metavar="MB", help=_STORED_MB
    )
    group.add_argument("--max-pixels", type=int, default=_USUAL.pixels, metavar="N", help=_MOST_PIXELS)
    group.add_argument("--queue", type=int, default=_USUAL.waiting, metavar="N", help=_MOST_WAITING)
    group.add_argument("--mcp", action="store_true", help="also offer the actions as MCP tools (extra: mcp)")


_MOST_MB = "megabytes of one uploaded file (default: %(default)s)"
_STORED_MB = "megabytes of all uploads together, which are deleted after an hour (default: %(default)s)"
_MOST_PIXELS = "width times height of an image that is still read (default: %(default)s)"
_MOST_WAITING = 'requests that may wait; more are told "busy" at once (default: %(default)s)'


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches what listens at an address or name."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def serve(args: Namespace) -> int:
    """Serve the page until a signal ends it, and return the exit status.

    Raises:
        BadInput: an option that cannot be used, a port that is taken, or a host that others reach and no account.
        MissingExtra: gradio, or with --mcp the package mcp, is not installed.
    """
    accounts, limits = _accounts(args), _limits(args)
    if not is_loopback(args.host) and not accounts:
        if not args.insecure:
            raise BadInput(
                f"others can reach {args.host}; say who may come in with --auth USER:PASSWORD, or add --insecure"
            )
        complain(f"warning: everyone who reaches {args.host} may use this page, since --insecure is given")
    os.environ.update(_QUIET)
    require("gradio", extra="web")
    from openvocab.ui.web.context import Context
    from openvocab.ui.web.models import Models
    from openvocab.ui.web.server import ServerOptions

    models = Models(tuple(args.preset or [args.usual_preset]), args.device, args.dtype)
    serving = ServerOptions(args.host, args.port, accounts, any_host=args.insecure, mcp=args.mcp)
    return _until_signal(Context(models, limits), serving)


def _until_signal(context: Context, serving: ServerOptions) -> int:
    from openvocab.ui.web.server import run_server

    with run_server(context, serving) as served, listening() as stop:
        complain(f"ready at {served.url}; Ctrl-C ends it")
        while served.thread.is_alive() and not stop():
            served.thread.join(timeout=0.2)
    return stop.status if stop() else _ENDED


def _accounts(args: Namespace) -> tuple[tuple[str, str], ...]:
    """The account that is given as an option, or else in the environment.

    Raises:
        BadInput: it is not USER:PASSWORD.
    """
    source = "--auth" if args.auth is not None else _ACCOUNT
    given = os.environ.get(_ACCOUNT) if args.auth is None else args.auth
    if given is None:
        return ()
    user, _, password = given.partition(":")
    if not user.strip() or not password:
        raise BadInput(f"{source} is not a name and a password with a colon between; give USER:PASSWORD")
    return ((user.strip(), password),)


def _limits(args: Namespace) -> Limits:
    """The limits that the options give.

    Raises:
        BadInput: one of them is less than 1, or there is no such port.
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
