"""`python -m daemon` is `cxrd`."""

from daemon.cli.main import main

if __name__ == "__main__":
    main()
