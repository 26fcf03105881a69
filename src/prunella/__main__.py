"""The program: `prunella`, or `python -m prunella`."""

from prunella.cli import interrupts


def run() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it with one sentence."""
    interrupts.listen(interrupts.leave)
    from prunella.cli.main import run as run_command_line

    run_command_line()


if __name__ == "__main__":
    run()
