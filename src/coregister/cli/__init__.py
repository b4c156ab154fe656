"""The command. Each subcommand calls one function of the library a step.

Exit status: 0 trusted, 3 registered but flagged, 2 usage or unusable input, 1 anything else.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from pathlib import Path

try:
    import click
except ImportError:
    raise SystemExit(
        "coregister: error: click is not installed and is needed here: "
        "pip install 'coregister[cli]'"
    ) from None

from coregister.cli.calibrate import calibrate
from coregister.cli.demo import demo
from coregister.cli.info import info
from coregister.cli.options import say
from coregister.cli.pair import pair
from coregister.cli.sky import sky
from coregister.cli.stack import stack
from coregister.cli.windows import windows
from coregister.errors import InputError, RegistrationWarning

DEBUG = "COREGISTER_DEBUG"


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="coregister", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Measure how far two images of one scene are displaced, with error bars that are true.

    \b
    Examples:
      coregister pair reference.fits moving.fits -o aligned.fits
      coregister stack movie.tif -o aligned.tif --table drift.csv
      coregister windows a.tif b.tif --size 32 --table flow.csv --plot flow.png
      coregister sky deep.fits tonight.fits -o tonight-corrected.fits
      coregister info moving.fits
      coregister calibrate --scene power-law-3 --noise 0.1
      coregister demo

    Exit status: 0 trusted, 3 registered but flagged, 2 usage or unusable input, 1 anything else.
    COREGISTER_DEBUG=1 shows where an error came from.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for subcommand in (pair, stack, windows, sky, info, calibrate, demo):
    cli.add_command(subcommand)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
def completion(shell: str | None) -> None:
    """Print the script that completes this command in SHELL (default: the one in $SHELL).

    \b
    Examples:
      eval "$(coregister completion bash)"      in ~/.bashrc
      eval "$(coregister completion zsh)"       in ~/.zshrc
      coregister completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    name = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(name)
    if kind is None:
        raise InputError(f"the shell {name!r} is not known; name one: bash, zsh or fish")
    click.echo(kind(cli, {}, "coregister", "_COREGISTER_COMPLETE").source())


def main() -> None:
    """Run the command; every error is one line, and the exit status tells its kind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # lets temporary files be removed
    warnings.showwarning = lambda message, *_, **__: say(f"warning: {message}")
    warnings.simplefilter("always", RegistrationWarning)
    try:
        status = cli.main(prog_name="coregister", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        status = fail(error)
    sys.exit(status)


def _where(error: click.UsageError) -> str:
    """The command that was called."""
    if error.ctx is not None:
        return error.ctx.command_path
    # click does not say so where an option lacks its argument
    return " ".join(["coregister", *(name for name in sys.argv[1:2] if name in cli.commands)])


def fail(error: BaseException) -> int:
    """Say what went wrong; the exit status."""
    if isinstance(error, click.UsageError):
        said = error.format_message().rstrip(".")
        if said.startswith("No such command") and "Did you mean" not in said:
            said += "; for two images: coregister pair REF MOV"
        stop = "" if said.endswith("?") else "."
        say(f"error: {said}{stop} See '{_where(error)} --help'.")
        return 2
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        say("error: interrupted")
        return 1
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    if type(error).__module__.startswith("coregister.") and text:
        say(f"error: {text}")
    else:
        say(f"error: {type(error).__name__}: {text} ({DEBUG}=1 shows where)")
    return 2 if isinstance(error, InputError) else 1
