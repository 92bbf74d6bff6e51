"""Find the verb, import it, call it; turn errors into a message and an exit status."""

import importlib
import sys
from contextlib import nullcontext

import click

import milepost
from milepost.cli.interruption import Interrupted, Interruption
from milepost.cli.statuses import ABANDONED, FAILED, FINISHED, STOPPED
from milepost.cli.terminal import say

VERBS = {
    "train": "Train a model, or continue a run.",
    "export": "Turn a trained model into a file that other programs run.",
    "runs": "List runs: how far they are, or how they ended.",
    "watch": "Follow a run until it ends.",
    "eval": "Measure a model's errors on a data set.",
    "show": "Say what a file is and what is in it, or how a run stands.",
    "verify": "Read every byte of files and name what is damaged.",
    "diff": "Say what differs between two checkpoints.",
    "convert": "Renew an old checkpoint, or hand weights to other programs.",
    "options": "Print what can be set.",
    "architectures": "List what can be trained.",
    "learners": "List what keeps a model from forgetting earlier tasks.",
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
    """Run the command line and leave with its exit status.

    Without arguments they are those of this process. Then nothing that comes after the verb's end, while the process
    shuts down, changes the status any more.
    """
    from milepost.errors import MilepostError

    given = sys.argv[1:] if arguments is None else arguments
    # Other verbs keep nothing that a later call goes on from: signals end them as they end any program.
    interruption = Interruption(to_the_end=arguments is None) if given[:1] == ["train"] else None
    try:
        with interruption or nullcontext():
            status = group.main(arguments, prog_name="milepost", standalone_mode=False, obj=interruption)
    except Interrupted as stop:
        say(str(stop), err=True)
        sys.exit(STOPPED)
    except click.exceptions.Abort:
        sys.exit(ABANDONED)
    except KeyboardInterrupt:
        sys.exit(ABANDONED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (MilepostError, OSError) as error:
        say(f"error: {explained(error)}", err=True)
        sys.exit(FAILED)
    sys.exit(status if isinstance(status, int) else FINISHED)


def explained(error: Exception) -> str:
    """Say what an error means for the user; raises it again where it is about no file of theirs."""
    from milepost.errors import MilepostError

    if isinstance(error, OSError) and not isinstance(error, MilepostError):
        if error.filename is None:
            raise error
        return f"could not use '{error.filename}': {error.strerror}. Check the path and its permissions."
    return str(error)
