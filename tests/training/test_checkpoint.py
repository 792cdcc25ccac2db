"""What a training is told after each step."""

import signal

import pytest
import torch

from balle_li.training.checkpoint import CONTINUE, SAVE, STOP, Interruption

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
