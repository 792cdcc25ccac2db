"""What an interrupted training leaves, and what a training is told after each step."""

import errno
import io
import signal

import pytest
import torch

from balle_li.errors import BalleLiError, TrainingError
from balle_li.models.base import build
from balle_li.registry import ModelConfig
from balle_li.training import checkpoint
from balle_li.training.checkpoint import (
    CONTINUE,
    LAST,
    SAVE,
    STOP,
    Interruption,
    load_weights,
    save_state,
    save_weights,
    saved_state,
)

CPU = torch.device("cpu")


def test_it_saves_when_that_is_due(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    interruption = Interruption(2, 1, CPU)
    assert interruption.what_next(1) == CONTINUE
    now[0] = 121.0
    assert interruption.what_next(2) == SAVE
    interruption.saved()
    assert interruption.what_next(3) == CONTINUE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_after_the_step_and_the_second_at_once(number):
    interruption = Interruption(60, 1, CPU)
    before = signal.getsignal(number)
    with interruption.signals_caught():
        signal.raise_signal(number)
        assert interruption.what_next(1) == STOP
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_several_processes_agree_every_tenth_step_on_what_one_of_them_was_asked(monkeypatch):
    interruption, agreed = Interruption(60, 2, CPU), []

    def all_reduce(value, operation):
        assert operation is torch.distributed.ReduceOp.MAX
        agreed.append(int(value))
        value.fill_(STOP)  # the other process was

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    assert [interruption.what_next(step) for step in (8, 9, 10)] == [CONTINUE, CONTINUE, STOP]
    assert agreed == [CONTINUE]


class FullDisk(io.FileIO):
    """A file that takes 100,000 bytes."""

    def write(self, data):
        if self.tell() + len(data) > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_on_a_full_disk_the_last_state_stays_and_nothing_else(tmp_path, monkeypatch):
    save_state(tmp_path, {"fingerprint": "a", "step": 1})
    monkeypatch.setattr(checkpoint, "open", FullDisk, raising=False)
    with pytest.raises(BalleLiError, match=rf"{LAST}: the disk is full; free some space"):
        save_state(tmp_path, {"fingerprint": "a", "step": 2, "weights": torch.zeros(100_000)})
    assert [path.name for path in tmp_path.iterdir()] == [LAST]
    assert saved_state(tmp_path, "a") == {"fingerprint": "a", "step": 1}
    assert saved_state(tmp_path, "b") is None


def test_weights_fit_whether_a_default_is_stated_or_not(tmp_path):
    plain, stated, other = (
        build(ModelConfig("balle-li-roi", {"N": 8, **levels})) for levels in ({}, {"levels": 5}, {"levels": 3})
    )
    for model, target in ((plain, stated), (stated, plain)):
        save_weights(model, tmp_path / "a.safetensors", {"step": "1"})
        assert load_weights(target, tmp_path / "a.safetensors")["step"] == "1"
        with pytest.raises(TrainingError, match="not balle-li-roi with N = 8, levels = 3"):
            load_weights(other, tmp_path / "a.safetensors")


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: bytes(len(data)), lambda data: data[:500]])
def test_a_damaged_state_is_named_with_the_way_out(tmp_path, damage):
    save_state(tmp_path, {"fingerprint": "a", "weights": torch.zeros(1000)})
    (tmp_path / LAST).write_bytes(damage((tmp_path / LAST).read_bytes()))
    with pytest.raises(TrainingError, match=rf"{LAST} is damaged or cannot be read; delete it to start"):
        saved_state(tmp_path, "a")
