"""The commands of `partialstate`."""

import typer

from partialstate.cli.check_command import add_check_command
from partialstate.cli.exit_codes import ExitCode
from partialstate.cli.joins_commands import add_joins_commands
from partialstate.cli.local_commands import add_local_commands
from partialstate.cli.recording_commands import add_recording_commands
from partialstate.cli.recovered_commands import add_recovered_commands
from partialstate.cli.rooms_commands import add_rooms_commands
from partialstate.cli.usage_errors import Commands
from partialstate.cli.watch_command import add_watch_command

# One paragraph per line: typer joins the lines of a paragraph.
_EPILOG = "\n\n".join(("Exit codes:", *(f"{code.value:>3}  {code.meaning}" for code in ExitCode)))

app = typer.Typer(
    name="partialstate",
    cls=Commands,
    help="Ask and steer the partial-state service of a Matrix homeserver.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
add_rooms_commands(app)
add_check_command(app)
add_joins_commands(app)
add_recording_commands(app)
add_recovered_commands(app)
add_watch_command(app)
add_local_commands(app)
