"""Work of many processes: Dask workers on this machine or a cluster, and which of torchrun's processes this one is."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from balle_li.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

    from balle_li.config import ComputeConfig

ANSWER_SECONDS = 10
WORKERS_SECONDS = 30


def rank() -> int:
    """This process's number among all that torchrun started, on every machine; 0 without torchrun."""
    return int(os.environ.get("RANK", 0))


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def cluster(config: "ComputeConfig") -> Iterator["Client"]:
    """Yield a Dask client with at least one worker; local processes, if any, end with the block.

    Workers of an outside scheduler must be able to import this package and see the project's folders at the same paths.

    Raises ConfigError: nothing answers at `config.scheduler`, or it has no workers.
    """
    with _local_client(config.workers) if config.scheduler is None else _remote_client(config.scheduler) as client:
        yield client


@contextmanager
def _local_client(workers: int) -> Iterator["Client"]:
    from distributed import Client, LocalCluster

    pool = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    with pool, Client(pool) as client:
        yield client


@contextmanager
def _remote_client(address: str) -> Iterator["Client"]:
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address} ({type(error).__name__}); start one with `dask scheduler`,"
            " or set compute.scheduler to null"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except TimeoutError:
            raise ConfigError(
                f"the Dask scheduler at {address} has no workers; start one with `dask worker {address}`"
            ) from None
        yield client
