"""`python -m driftback` is the command `driftback`."""

from driftback.cli.app import main

if __name__ == "__main__":
    main()
