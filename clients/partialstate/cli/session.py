"""Commands that talk to the service: their common options, their client, their output and their errors."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypeVar

import typer

from partialstate.cli import json_shapes
from partialstate.cli.advice import advice
from partialstate.cli.argument_checks import require_usable
from partialstate.cli.exit_codes import ExitCode, of_error
from partialstate.cli.input_files import InputError, InputFile, read_pem
from partialstate.cli.output import Output, plain
from partialstate.cli.token_file import read_token
from partialstate.client import DEFAULT_TARGET, PartialStateClient
from partialstate.errors import PartialStateError
from partialstate.options import Deadlines, Tls

_PANEL = "Connection and output"
_Command = TypeVar("_Command", bound=Callable[..., Awaitable[ExitCode | None]])


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """The options that every command has beside its own."""

    target: Annotated[
        str,
        typer.Option(
            envvar="PARTIALSTATE_TARGET",
            help="HOST:PORT or unix:PATH of the service.",
            rich_help_panel=_PANEL,
        ),
    ] = DEFAULT_TARGET
    token_file: Annotated[
        InputFile | None,
        typer.Option(
            parser=InputFile,
            envvar="PARTIALSTATE_TOKEN_FILE",
            metavar="FILE",
            help="A file with the service's token; of several, the first.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    tls: Annotated[
        bool,
        typer.Option(
            help="Use TLS with the system's authorities; --ca-file implies TLS.", rich_help_panel=_PANEL
        ),
    ] = False
    ca_file: Annotated[
        InputFile | None,
        typer.Option(
            parser=InputFile,
            metavar="FILE",
            help="Authorities (PEM) for the service.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    cert_file: Annotated[
        InputFile | None,
        typer.Option(
            parser=InputFile, metavar="FILE", help="A client certificate (PEM).", rich_help_panel=_PANEL
        ),
    ] = None
    key_file: Annotated[
        InputFile | None,
        typer.Option(parser=InputFile, metavar="FILE", help="Its private key (PEM).", rich_help_panel=_PANEL),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=86_400,
            metavar="SECONDS",
            help="How long each call may take. (default: 10, uploads 120)",
            rich_help_panel=_PANEL,
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_PANEL)] = False

    def client(self) -> PartialStateClient:
        """Return the client that these options describe."""
        if not self.target:
            raise InputError("--target (PARTIALSTATE_TARGET) is empty: it takes HOST:PORT or unix:PATH")
        token = None if self.token_file is None else read_token(self.token_file)
        return PartialStateClient(self.target, tls=self._tls(), token=token, deadlines=self._deadlines())

    def _tls(self) -> Tls | None:
        if (self.cert_file is None) != (self.key_file is None):
            raise InputError("--cert-file and --key-file belong together")
        files = (self.ca_file, self.cert_file, self.key_file)
        if not self.tls and files == (None, None, None):
            return None
        # An empty name is a wrong one: it must not come to a connection in the clear, which shows the token.
        ca, cert, key = (None if file is None else read_pem(file) for file in files)
        return Tls(ca, cert, key)

    def _deadlines(self) -> Deadlines:
        if self.timeout is None:
            return Deadlines(check_s=10.0, read_s=10.0, write_s=10.0)
        return Deadlines(self.timeout, self.timeout, self.timeout, self.timeout)


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with."""

    client: PartialStateClient
    output: Output
    target: str


def command(app: typer.Typer, name: str) -> Callable[[_Command], _Command]:
    """Make a coroutine function a command of *app*: it gets a session, and its command line the common options."""

    def register(function: _Command) -> _Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = list(inspect.signature(ConnectionOptions, eval_str=True).parameters.values())

        def run(**arguments: Any) -> None:
            given = dict(arguments)
            options = ConnectionOptions(
                **{field.name: arguments.pop(field.name) for field in fields(ConnectionOptions)}
            )
            try:
                require_usable(parameters, given)
            except InputError as error:
                raise typer.Exit(_wrong_usage(options, str(error))) from error
            raise typer.Exit(_run(name, options, lambda session: function(session, **arguments)))

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *common)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _run(
    name: str, options: ConnectionOptions, work: Callable[[Session], Awaitable[ExitCode | None]]
) -> ExitCode:
    async def connected() -> ExitCode:
        async with options.client() as client:
            return await work(Session(client, Output(as_json=options.json), options.target)) or ExitCode.OK

    try:
        return asyncio.run(connected())
    except PartialStateError as error:
        if options.json:
            print(json_shapes.line(json_shapes.error(error)), file=sys.stderr)
        else:
            print(f"partialstate: {plain(advice(error, options.target, name))}", file=sys.stderr)
        return of_error(error)
    except InputError as error:
        return _wrong_usage(options, str(error))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _wrong_usage(options: ConnectionOptions, text: str) -> ExitCode:
    if options.json:
        print(json_shapes.line(json_shapes.usage_error(text)), file=sys.stderr)
    else:
        print(f"partialstate: {plain(text)}", file=sys.stderr)
    return ExitCode.USAGE
