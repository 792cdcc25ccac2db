"""Where spread work is done."""

import socket

import pytest

from balle_li.compute import cluster
from balle_li.config import ComputeConfig
from balle_li.errors import ConfigError


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("balle_li.compute.ANSWER_SECONDS", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConfigError, match=address) as failure, cluster(ComputeConfig(address, 1)):
            pass
    assert "\n" not in str(failure.value)


def test_a_scheduler_without_workers_is_named(monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr("balle_li.compute.WORKERS_SECONDS", 0.5)
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as empty:
        config = ComputeConfig(empty.scheduler_address, 1)
        with pytest.raises(ConfigError, match="no workers"), cluster(config):
            pass
