"""The processes of the analyst on one host, and the part of the host that each of them uses."""

from cxr_model.engine.processors import usable_cores, usable_memory
from daemon.config.sections.roles import AnalystConfig
from daemon.config.settings import Config

PROCESS_CORES = 4
"""Cores for each process. Its threads build the objects of films, and Python runs one at a time."""
PROCESS_BYTES = 2 << 30
"""Memory for each further process: its network, its readers and the films in work."""
MOST_PROCESSES = 16


def analyst_processes(config: AnalystConfig) -> int:
    """Return the number of processes of the analyst on this host."""
    if config.processes:
        return config.processes
    wanted = min(usable_cores() // PROCESS_CORES, usable_memory() // PROCESS_BYTES)
    return max(1, min(wanted, MOST_PROCESSES))


def counted(config: Config) -> Config:
    """Return the configuration with the number of the analyst's processes filled in."""
    processes = analyst_processes(config.analyst)
    analyst = config.analyst.model_copy(update={"processes": processes})
    return config.model_copy(update={"analyst": analyst})


def share_of_threads(config: Config) -> int:
    """Return the threads of the network in one process; 0: as many as there are cores."""
    processes = max(1, config.analyst.processes)
    if processes == 1:
        return config.model.threads
    return max(1, (config.model.threads or usable_cores()) // processes)


def share_of_workers(config: AnalystConfig, workers: int) -> int:
    """Return the part of one process in the images that the host has in work at once."""
    return -(-workers // max(1, config.processes))
