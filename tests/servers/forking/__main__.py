"""`cxrd` with forked roles: `python -m tests.servers.forking serve --config …`."""

from tests.servers.forking import forked_roles

if __name__ == "__main__":
    from daemon.cli.main import main

    with forked_roles():
        main()
