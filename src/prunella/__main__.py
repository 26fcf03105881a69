"""`python -m prunella`: the command line."""

from prunella.cli.main import run

if __name__ == "__main__":
    run()
