"""`python -m masklet`: the command, where its script is not on the path."""

from masklet.cli.main import run

if __name__ == "__main__":
    run()
