"""Health check of a container: exit status 0 if each role of its supervisor works."""

import sys
from pathlib import Path

from daemon.config.loading import load_config
from daemon.worker.board import RoleState, roles_here

roles = roles_here(load_config(Path(sys.argv[1])))
print(*(f"{status.role}: {status.state}" for status in roles), sep=", ")
sys.exit(not roles or any(status.state is not RoleState.UP for status in roles))
