import io
import re

import pytest

from balle_li import progress as module
from balle_li.progress import duration, progress, rate


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds, to be moved on by hand."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (12.34, "12.3 steps/s"),
        (1.0, "1.0 steps/s"),
        (0.5, "30.0 steps/min"),
        (0.01, "36.0 steps/h"),
        (0.0, "0.0 steps/h"),
    ],
)
def test_a_rate_is_said_in_the_time_that_makes_it_more_than_one(per_second, text):
    assert rate(per_second, "steps") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (7.14, "7.1 s"), (95, "95 s"), (130, "2 min"), (3599, "1 h 00 min"), (11100, "3 h 05 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_log_gets_a_line_now_and_then_with_rate_and_remaining_time(clock, capsys):
    with progress("Coding", 40, "pictures") as advance:
        for _ in range(4):
            clock[0] += 10.0
            advance(1)
        clock[0] += 360.0
        advance(36)
    assert capsys.readouterr().err.splitlines() == [
        "Coding: 2/40 pictures, 6.0 pictures/min, 6 min remaining",
        "Coding: 4/40 pictures, 6.0 pictures/min, 6 min remaining",
        "Coding: 40/40 pictures in 7 min (6.0 pictures/min)",
    ]


def test_work_that_ends_at_once_has_no_rate(clock, capsys):
    with progress("Coding", 0, "pictures"):
        pass
    assert capsys.readouterr().err == "Coding: 0/0 pictures in 0.0 s\n"


def test_a_failure_is_not_reported_as_done(clock, capsys):
    with pytest.raises(ValueError), progress("Coding", 2, "pictures") as advance:
        advance(1)
        raise ValueError
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    with progress("Coding", 3, "pictures") as advance:
        advance(3)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "Coding" in shown
    assert "3/3" in shown
