"""The line before the threads: in order, within bounded time, and closed when it is foreseen to be too long."""

from __future__ import annotations

from gateway.api.line import Line


def line_of(count: int, *, patience_s: float = 2.0) -> Line[int]:
    line: Line[int] = Line(patience_s=patience_s)
    assert all(line.join(number, 0.0) for number in range(count))
    return line


def test_who_came_first_is_the_next() -> None:
    line = line_of(3)
    assert [line.next() for _ in range(4)] == [0, 1, 2, None]


def test_nobody_is_refused_before_it_is_known_how_fast_the_line_moves() -> None:
    line = line_of(1000)
    assert [line.next() for _ in range(7)] == list(range(7))
    assert line.join(1000, 60.0)


def test_who_would_wait_too_long_is_refused_when_it_comes() -> None:
    line = line_of(40)
    assert [line.next() for _ in range(10)] == list(range(10))
    # Ten in a second: the 30 that wait take three more.
    assert not line.join(40, 1.0)
    assert [line.next() for _ in range(20)] == list(range(10, 30))
    # Thirty in a second and a half: the ten that wait take half a second.
    assert line.join(41, 1.5)


def test_a_line_that_forms_anew_forgets_how_slow_it_was() -> None:
    line = line_of(9)
    assert [line.next() for _ in range(9)] == list(range(9))
    assert all(line.join(number, 3600.0) for number in range(100))
    assert line.next() == 0


def test_who_waited_too_long_is_taken_out_and_the_others_stay() -> None:
    line = line_of(2)
    assert line.join(2, 1.0)
    assert list(line.late(2.0)) == []
    assert list(line.late(2.1)) == [0, 1]
    assert line.next() == 2
