import msgspec
from hypothesis import given
from hypothesis import strategies as st

from serve.engine.priority_queue import Line
from serve.engine.request import Priority


class Item(msgspec.Struct, frozen=True):
    name: int
    priority: Priority


def line(*priorities: Priority) -> Line[Item]:
    """Items 0, 1, … of these classes."""
    made: Line[Item] = Line()
    made.put(Item(name, priority) for name, priority in enumerate(priorities))
    return made


def names(waiting: Line[Item]) -> list[int]:
    return [item.name for item in waiting]


def test_paying_stand_before_free_and_each_class_in_the_order_it_came() -> None:
    waiting = line("free", "paying", "free", "paying")
    assert names(waiting) == [1, 3, 0, 2]
    assert len(waiting) == 4
    assert [item.name for item in waiting.free] == [0, 2]


def test_nobody_waits() -> None:
    assert names(line()) == []
    assert len(line()) == 0


def test_keep_drops_the_others_from_both_classes() -> None:
    waiting = line("free", "paying", "free", "paying")
    waiting.keep(lambda item: item.name not in (0, 3))
    assert names(waiting) == [1, 2]


@given(st.lists(st.sampled_from(["paying", "free"]), max_size=20))
def test_keep_asks_once_of_each_first_to_start_first(priorities: list[Priority]) -> None:
    waiting = line(*priorities)
    before = names(waiting)
    asked: list[int] = []

    def wanted(item: Item) -> bool:
        asked.append(item.name)
        return True

    waiting.keep(wanted)
    assert asked == before == names(waiting)
