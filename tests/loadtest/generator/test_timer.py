import time

from loadtest.generator.timer import Alarm


def test_an_alarm_wakes_when_it_should_and_at_once_where_that_is_past() -> None:
    alarm = Alarm()
    for wait_s in (0.003, 0.0, -5.0, 0.002):
        at_s = time.monotonic() + wait_s
        alarm.wait_until(at_s)
        assert at_s <= time.monotonic() < at_s + 5.0 + 1.0  # never early; how late is the machine's
    alarm.close()
