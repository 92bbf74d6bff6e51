"""Find the verb, import it, call it; turn errors into a message and an exit status."""

import importlib
import sys

import click

import milepost
from milepost.cli.terminal import say

VERBS = {
    "train": "Train a model, or continue a run.",
    "export": "Turn a trained model into a file that other programs run.",
    "eval": "Measure a model's errors on a data set.",
    "show": "Say what a file is and what is in it.",
    "verify": "Read every byte of files and name what is damaged.",
    "diff": "Say what differs between two checkpoints.",
    "convert": "Renew an old checkpoint, or hand weights to other programs.",
    "options": "Print what can be set.",
    "architectures": "List what can be trained.",
}


class Verbs(click.Group):
    """Import a verb's module only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the verbs in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a verb and return its command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"milepost.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the verbs without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Guess what a mistyped verb was meant to be."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"expected one of {', '.join(VERBS)}, found '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(milepost.__version__, prog_name="milepost")
def group() -> None:
    """Train PyTorch models that outlast the run: options → checkpoint → package → exported model."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit status."""
    from milepost.errors import MilepostError

    try:
        status = group.main(arguments, prog_name="milepost", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (MilepostError, OSError) as error:
        say(f"error: {explained(error)}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def explained(error: Exception) -> str:
    """Say what an error means for the user; raises it again where it is about no file of theirs."""
    from milepost.errors import MilepostError

    if isinstance(error, OSError) and not isinstance(error, MilepostError):
        if error.filename is None:
            raise error
        return f"could not use '{error.filename}': {error.strerror}. Check the path and its permissions."
    return str(error)
