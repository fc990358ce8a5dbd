"""Policy `step` on a fake model, step by step."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.engine.request import (
    Decoded,
    Order,
    OutOfMemoryError,
    Prepared,
    Priority,
    Recipe,
    Row,
    Size,
)
from serve.engine.ticket import ExpiredError, RefusedError, Ticket, complete
from tests.serve.fakes import LARGE, SMALL, FakeModel, Stage, order, play, settle

MEMORY = OutOfMemoryError("one image alone does not fit")


async def refusal(stage: Stage, asked: Order) -> tuple[str, int]:
    """Why an order is refused, and the seconds to wait."""
    with pytest.raises(RefusedError) as caught:
        await stage.engine.enter(asked)
    return caught.value.refusal.reason, caught.value.refusal.retry_after_s


def seeds_that_joined(model: FakeModel) -> list[int]:
    return [seed for tick in model.ticks for seed in tick.joins.values()]


class TestSteps:
    def test_images_join_at_the_next_step_and_leave_at_their_own(self) -> None:
        async def scenario(stage: Stage) -> None:
            first = await stage.enter(order(1, steps=4))
            await stage.step()
            second = await stage.enter(order(2, steps=2))  # while the second step runs
            await stage.step(3)
            assert stage.active == [{0: 0}, {0: 1}, {0: 2, 1: 0}, {0: 3, 1: 1}]
            assert await first.images() == ["1"]
            assert await second.images() == ["2"]
            assert stage.engine.running == 0
            assert [list(tick.finishes) for tick in stage.model.ticks] == [[], [], [], [0, 1]]

        play(scenario)

    def test_a_short_one_leaves_a_long_one_behind_and_its_slot_goes_on(self) -> None:
        async def scenario(stage: Stage) -> None:
            long = await stage.enter(order(1, steps=5))
            short = await stage.enter(order(2, steps=1))
            waits = await stage.enter(order(3, steps=2))
            await stage.step(2)
            assert (short.is_over, waits.is_over, long.is_over) == (True, False, False)
            await stage.step(2)
            assert (waits.is_over, long.is_over) == (True, False)
            await stage.step()
            assert await long.images() == ["1"]
            assert stage.active == [{0: 0}, {0: 1, 1: 0}, {0: 2, 1: 0}, {0: 3, 1: 1}, {0: 4}]

        play(scenario, slots=2)

    def test_a_tick_costs_the_flops_of_its_images(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(count=2, size=LARGE, steps=1))
            await stage.step()
            assert [tick.step_flop for tick in stage.model.ticks] == [8.0]  # 2 (128/64)^2

        play(scenario)

    def test_where_steps_between_are_shallow_images_join_with_a_whole_one(self) -> None:
        """Else each size would take two calls a tick, each with half of the images."""

        async def scenario(stage: Stage) -> None:
            stage.model.whole_every = 2
            await stage.enter(order(1, steps=4))
            await stage.step()
            await stage.enter(order(2, steps=3))  # comes between: waits for a step
            await stage.enter(order(3, steps=1, size=LARGE))  # of its own size it is the first
            await stage.step(5)
            small = [dict(tick.active) for tick in stage.model.ticks if tick.size == SMALL]
            assert small == [{0: 0}, {0: 1}, {0: 2, 1: 0}, {0: 3, 1: 1}, {1: 2}]

        play(scenario)

    def test_a_tick_costs_what_its_images_steps_cost(self) -> None:
        class Cut(FakeModel):
            async def step_flops(self, recipe: Recipe) -> Sequence[float]:
                return [3.0, 1.0] * (recipe.steps // 2)

        async def scenario(stage: Stage) -> None:
            stage.engine._model = stage.model = Cut(stage.clock)
            stage.model.ticking.is_open = False
            await stage.enter(order(1, count=2, steps=4))
            await stage.step(4)
            assert [tick.step_flop for tick in stage.model.ticks] == [6.0, 2.0, 6.0, 2.0]

        play(scenario)

    def test_images_of_one_order_are_images_like_any_other(self) -> None:
        async def scenario(stage: Stage) -> None:
            ticket = await stage.enter(order(10, count=5, steps=2))
            await stage.step(6)
            assert stage.active == [
                *({0: step, 1: step} for step in range(2)),  # two slots: 10 and 11,
                *({0: step, 1: step} for step in range(2)),  # 12 and 13,
                *({0: step} for step in range(2)),  # 14
            ]
            assert await ticket.images() == ["10", "11", "12", "13", "14"]

        play(scenario, slots=2)

    def test_it_tells_every_steps_images_and_who_waits(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(count=3, steps=1))
            await stage.step(2)
            assert stage.seen == [(2, 1), (1, 0)]

        play(scenario, slots=2)

    def test_it_learns_from_what_the_device_measured(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.measures_s = 0.5
            await stage.enter(order(steps=1))
            await stage.step()
            assert stage.model.rate.seconds(1.0) == 0.5

        play(scenario)

    def test_sizes_interleave_by_flops_owed(self) -> None:
        async def scenario(stage: Stage) -> None:
            small = await stage.enter(order(1, count=4, steps=8))
            large = await stage.enter(order(2, count=4, steps=2, size=LARGE))
            # Both have 32 FLOPs to do: 8 ticks of 4, and 2 ticks of 16.
            await stage.step(10)
            assert small.is_over
            assert large.is_over
            turns = [tick.size for tick in stage.model.ticks]
            assert Counter(turns) == {SMALL: 8, LARGE: 2}
            assert LARGE in turns[:5]
            assert SMALL in turns[5:]

        play(scenario)

    def test_a_full_pool_keeps_no_other_size_waiting(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=9))
            await stage.enter(order(2, steps=9))  # waits for the slot
            other = await stage.enter(order(3, steps=1, size=LARGE))
            await stage.step(3)
            assert other.is_over
            assert stage.engine.waiting == 1

        play(scenario, slots=1)

    def test_a_size_is_released_when_its_last_image_leaves(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=1))
            gone = await stage.enter(order(2, steps=9, size=LARGE))
            await stage.step()
            assert stage.model.released == [SMALL]
            gone.give_up()
            await stage.step()
            assert stage.model.released == [SMALL, LARGE]
            again = await stage.enter(order(3, steps=1))
            await stage.step()
            assert await again.images() == ["3"]

        play(scenario)

    def test_texts_are_embedded_together_while_steps_run(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.preparing.is_open = False
            await stage.enter(order(1, steps=3))
            for seed in (2, 3):
                await stage.enter(order(seed, steps=3))
            assert stage.model.prepared == [[1]]
            stage.model.preparing.let_one_pass()
            await settle()
            assert stage.model.prepared == [[1], [2, 3]]
            await stage.step()
            assert stage.active == [{0: 0}, {0: 1}]  # 2 and 3 are not ready
            stage.model.preparing.let_one_pass()
            await stage.step()
            assert stage.active[2:] == [{0: 2, 1: 0, 2: 0}]

        play(scenario)

    def test_no_more_latents_in_a_call_than_the_model_takes(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.most_decoded = 2
            await stage.enter(order(1, count=3, steps=1))
            await stage.step()
            await settle()
            assert stage.model.decoded == [["1", "2"], ["3"]]

        play(scenario)

    def test_decoding_waits_for_nobody_and_takes_what_is_there_together(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.decoding.is_open = False
            await stage.enter(order(1, steps=1))
            await stage.enter(order(2, steps=2))
            await stage.enter(order(3, steps=3))
            last = await stage.enter(order(4, steps=3))
            await stage.step(4)  # while the first one is decoded
            stage.model.decoding.let_one_pass()
            await settle()
            stage.model.decoding.let_one_pass()
            await settle()
            assert stage.model.decoded == [["1"], ["2", "3", "4"]]
            assert await last.images() == ["4"]

        play(scenario)


class TestTiming:
    def test_where_the_seconds_went(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.text_s = 0.25
            await stage.enter(order(1, steps=3))
            ticket = await stage.enter(order(2, count=2, steps=2))
            await stage.step()  # 1 s: it waits for the step to end
            stage.model.decoding.is_open = False
            await stage.step(2)
            stage.clock.now_s += 5.0
            stage.model.decoding.open()
            await settle()
            stage.clock.now_s += 0.125
            done = await complete(ticket, stage.model, stage.clock)
            timing = done.timing
            assert timing.text_s == 0.25
            assert timing.queue_s == 0.75  # the second of waiting, less the text's
            assert timing.denoise_s == 2.0
            assert timing.decode_s == 5.0
            assert timing.encode_s == 0.125
            assert timing.batch_mean == 3.0  # both steps with the first order's image

        play(scenario)

    def test_a_step_launched_ahead_counts_as_denoising_until_the_device_did_it(self) -> None:
        """GPU finding 16: the tick returns up to two steps before its latent is there."""

        async def scenario(stage: Stage) -> None:
            stage.model.decoding.is_open = False
            ticket = await stage.enter(order(1, steps=2))
            await stage.step(2)  # launched at 2 s
            stage.clock.now_s += 5.0
            stage.model.ready_s = 1.0  # pixels at 7 s, of a latent that was there at 6 s
            stage.model.decoding.open()
            await settle()
            await ticket.images()
            assert ticket.denoised_s == 6.0
            assert (ticket.denoise_s, ticket.decode_s) == (6.0, 1.0)
            assert stage.engine._tail.mean_s == 1.0

        play(scenario)

    def test_texts_embedded_while_its_first_images_run_count_once(self) -> None:
        """The stages sum to the time in the replica although these two overlap."""

        async def scenario(stage: Stage) -> None:
            stage.model.preparing.is_open = False
            ticket = await stage.enter(order(count=20, steps=1))  # texts go in batches of 16
            stage.clock.now_s = stage.model.text_s = 1.0
            stage.model.preparing.let_one_pass()
            await settle()
            stage.model.text_s = 7.0
            await stage.step(7)
            stage.model.preparing.let_one_pass()
            await stage.step(3)
            done = await complete(ticket, stage.model, stage.clock)
            timing = done.timing
            assert (timing.queue_s, timing.text_s, timing.denoise_s) == (0.0, 1.0, 10.0)
            assert timing.batch_mean == 2.0

        play(scenario, slots=2)

    def test_a_cut_prompt_is_told(self) -> None:
        async def scenario(stage: Stage) -> None:
            ticket = await stage.enter(order(steps=1, negative_prompt="77 of 120 tokens"))
            await stage.step()
            done = await complete(ticket, stage.model, stage.clock)
            assert done.truncated == "77 of 120 tokens"

        play(scenario)


class TestGivingUp:
    def test_a_cancelled_request_frees_its_slots_at_the_next_step(self) -> None:
        async def scenario(stage: Stage) -> None:
            gone = await stage.enter(order(1, count=2, steps=9))
            waits = await stage.enter(order(3, steps=1))
            answer = asyncio.create_task(complete(gone, stage.model, stage.clock))
            await stage.step()
            answer.cancel()
            await stage.step()  # the one under way
            assert stage.active[2:] == [{0: 0}]
            await stage.step()
            assert await waits.images() == ["3"]
            assert stage.model.decoded == [["3"]]
            assert stage.engine.running == 0

        play(scenario, slots=2)

    def test_one_that_was_given_up_with_its_last_step_is_not_decoded(self) -> None:
        async def scenario(stage: Stage) -> None:
            gone = await stage.enter(order(1, steps=1))
            gone.give_up()
            await stage.step()
            assert stage.model.decoded == []

        play(scenario)

    def test_nor_one_that_waits_for_the_decoder(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.decoding.is_open = False
            await stage.enter(order(1, steps=1))
            await stage.step()
            gone = await stage.enter(order(2, steps=1))
            await stage.step()
            gone.give_up()
            stage.model.decoding.open()
            await settle()
            assert stage.model.decoded == [["1"]]

        play(scenario)

    def test_one_that_waits_for_a_slot_gets_none(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=2))
            gone = await stage.enter(order(2, steps=1))
            gone.give_up()
            stays = await stage.enter(order(3, steps=1))
            assert stage.engine.waiting == 1
            await stage.step(3)
            assert stays.is_over
            assert seeds_that_joined(stage.model) == [1, 3]

        play(scenario, slots=1)

    def test_one_that_joined_but_had_no_step_yet_leaves_no_trace(self) -> None:
        """It holds a slot of a size whose turn it is not."""

        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, count=2, steps=9, size=LARGE))
            gone = await stage.enter(order(2, steps=1))
            stays = await stage.enter(order(3, steps=1))
            await stage.step()
            assert [tick.size for tick in stage.model.ticks] == [LARGE, LARGE]
            assert stage.engine.running == 4
            gone.give_up()
            while not stays.is_over:
                await stage.step()
            assert stage.model.ticks[-2].joins == {1: 3}
            assert stage.model.decoded == [["3"]]

        play(scenario, slots=2)

    def test_texts_of_what_was_given_up_are_not_embedded(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.preparing.is_open = False
            await stage.enter(order(1))
            gone = await stage.enter(order(2))
            await stage.enter(order(3))
            gone.give_up()
            stage.model.preparing.open()
            await settle()
            assert stage.model.prepared == [[1], [3]]

        play(scenario)


class TestDeadlines:
    """Steps are known to take a second, whatever runs in them."""

    @pytest.mark.parametrize(
        ("deadline_s", "refused"), [(10.0, None), (9.5, ("deadline", 1)), (4.0, ("deadline", 6))]
    )
    def test_alone(self, deadline_s: float, refused: tuple[str, int] | None) -> None:
        async def scenario(stage: Stage) -> None:
            asked = order(steps=10, deadline_s=deadline_s)
            if refused:
                assert await refusal(stage, asked) == refused
                assert stage.engine.waiting == 0
            else:
                await stage.engine.enter(asked)

        play(scenario, step_s=1.0)

    def test_behind_others(self) -> None:
        async def scenario(stage: Stage) -> None:
            running = await stage.enter(order(1, steps=10))
            await stage.step(2)
            await stage.enter(order(2, steps=5))
            # 8 s of the one that runs, 5 of the one that waits, 4 of its own: 17
            assert await refusal(stage, order(3, steps=4, deadline_s=15)) == ("deadline", 2)
            await stage.engine.enter(order(4, steps=4, deadline_s=17))
            running.give_up()  # its 8 s are gone; the 4 of the last one came
            assert await refusal(stage, order(5, steps=4, deadline_s=12)) == ("deadline", 1)

        play(scenario, slots=1, step_s=1.0)

    def test_the_way_from_the_last_step_to_pixels_counts(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.decoding.is_open = False
            await stage.enter(order(1, steps=1))
            await stage.step()
            stage.clock.now_s += 3.0
            stage.model.decoding.open()
            await settle()
            assert await refusal(stage, order(2, steps=2, deadline_s=4)) == ("deadline", 1)  # 2 + 3
            await stage.engine.enter(order(3, steps=2, deadline_s=5))

        play(scenario, step_s=1.0)

    def test_counting_a_new_sizes_flops_takes_from_the_time_it_has(self) -> None:
        class Slow(FakeModel):
            async def step_flops(self, recipe: Recipe) -> Sequence[float]:
                self.clock.now_s += 2.0
                return [1.0] * recipe.steps

        async def scenario(stage: Stage) -> None:
            stage.engine._model = Slow(stage.clock)
            assert await refusal(stage, order(steps=4, deadline_s=5)) == ("deadline", 1)

        play(scenario, step_s=1.0)

    def test_one_that_passes_on_the_way_frees_the_slot(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.step_s = 4.0  # slower than was known
            ticket = await stage.enter(order(1, count=2, steps=9, deadline_s=10))
            await stage.step(3)
            assert stage.engine.running == 0  # 12 s
            with pytest.raises(ExpiredError, match="10 s"):
                await ticket.images()
            assert len(stage.model.ticks) == 3
            assert stage.model.decoded == []

        play(scenario, slots=2, step_s=1.0)

    def test_one_that_passes_while_it_waits_is_dropped_without_a_slot(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.step_s = 4.0
            await stage.enter(order(1, steps=4))
            ticket = await stage.enter(order(2, steps=2, deadline_s=7))
            over = []
            for _ in range(2):
                await stage.step()
                over.append(ticket.is_over)
            assert over == [False, True]  # 4 s + 2 s are within 7 s, 8 s are not
            with pytest.raises(ExpiredError):
                await ticket.images()
            await stage.step(2)
            assert stage.engine.waiting == 0
            assert seeds_that_joined(stage.model) == [1]

        play(scenario, slots=1, step_s=1.0)

    def test_so_is_one_that_could_not_be_in_time_any_more(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.step_s = 4.0
            await stage.enter(order(1, steps=2))
            ticket = await stage.enter(order(2, steps=4, deadline_s=7))
            await stage.step()
            assert ticket.is_over  # 4 s + 4 s, though 7 s have not passed
            assert stage.engine.waiting == 0

        play(scenario, slots=1, step_s=1.0)

    def test_a_hiccup_does_not_make_an_idle_replica_refuse_for_ever(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.measures_s = 1000.0
            await stage.enter(order(1, steps=2, deadline_s=5))
            await stage.step(2)
            probe = await stage.enter(order(2, steps=4, deadline_s=5))
            assert await refusal(stage, order(3, steps=4, deadline_s=5)) == ("deadline", 600)
            stage.model.measures_s = 1.0
            await stage.step(4)
            assert await probe.images() == ["2"]
            assert await refusal(stage, order(4, steps=6, deadline_s=5)) == ("deadline", 1)

        play(scenario, step_s=1.0)


class TestPriorities:
    def test_paying_ones_start_first(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=1))
            await stage.enter(order(2, steps=1, priority="free"))
            await stage.enter(order(3, steps=1))
            await stage.step(3)
            assert seeds_that_joined(stage.model) == [1, 3, 2]

        play(scenario, slots=1)

    def test_the_queue_is_bounded(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=5))
            await stage.enter(order(2, count=3, steps=5))
            # Room for 3 images: 1 is in the way of two, and the first that waits is done at 10 s.
            assert await refusal(stage, order(9, steps=5)) == ("queue_full", 10)
            assert stage.engine.waiting == 3
            await stage.step(5)
            await stage.engine.enter(order(5, steps=5))

        play(scenario, slots=1, max_queue=3, step_s=1.0)

    def test_the_newest_free_one_gives_way_to_a_paying_one(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1, steps=2))
            free = [await stage.enter(order(seed, steps=2, priority="free")) for seed in (2, 3)]
            paying = await stage.enter(order(4, steps=2))
            assert [ticket.is_over for ticket in free] == [False, True]
            with pytest.raises(RefusedError) as caught:
                await free[1].images()
            # When all that waited is done: 3 images of 2 steps, one after the other.
            assert (caught.value.refusal.reason, caught.value.refusal.retry_after_s) == ("shed", 6)
            assert await refusal(stage, order(5, priority="free")) == ("queue_full", 4)
            await stage.step(6)
            assert paying.is_over
            assert seeds_that_joined(stage.model) == [1, 4, 2]

        play(scenario, slots=1, max_queue=2, step_s=1.0)

    def test_a_free_one_that_has_begun_is_not_shed(self) -> None:
        async def scenario(stage: Stage) -> None:
            begun = await stage.enter(order(1, count=3, steps=2, priority="free"))
            assert (stage.engine.running, stage.engine.waiting) == (1, 2)
            assert await refusal(stage, order(4)) == ("queue_full", 4)
            assert not begun.is_over

        play(scenario, slots=1, max_queue=2, step_s=1.0)

    def test_paying_ones_are_never_shed(self) -> None:
        async def scenario(stage: Stage) -> None:
            await stage.enter(order(1))
            await stage.enter(order(2))
            assert (await refusal(stage, order(3)))[0] == "queue_full"

        play(scenario, slots=1, max_queue=1)


class TestFailures:
    def test_an_image_that_does_not_fit_fails_alone(self) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.too_large = {2: MEMORY}
            good = await stage.enter(order(1, steps=3))
            bad = await stage.enter(order(2, count=2, steps=3))  # 3 goes with 2
            await stage.step(3)
            assert await good.images() == ["1"]
            with pytest.raises(OutOfMemoryError):
                await bad.images()
            assert stage.active == [{0: 0}, {0: 1, 1: 0, 2: 0}, {0: 2}]
            assert stage.engine.failures_in_a_row == 0

        play(scenario)

    def test_a_tick_that_raises_fails_its_images_and_no_others(self) -> None:
        async def scenario(stage: Stage) -> None:
            small = await stage.enter(order(1, steps=1))
            large = await stage.enter(order(2, steps=1, size=LARGE))
            stage.model.ticking.failure = ZeroDivisionError("broken")
            await stage.step()
            stage.model.ticking.failure = None
            with pytest.raises(ZeroDivisionError):
                await small.images()
            await stage.step()
            assert await large.images() == ["2"]
            assert stage.model.released == [SMALL, LARGE]

        play(scenario)

    @pytest.mark.parametrize("kind", ["preparing", "ticking", "decoding"])
    def test_what_raises_fails_its_requests_counts_and_lives_on(self, kind: str) -> None:
        """Each kind counts alone: a device that is lost fails in the first call it gets."""

        async def scenario(stage: Stage) -> None:
            stage.model.ticking.is_open = True
            gate = getattr(stage.model, kind)
            for count in (1, 2, 3):
                gate.failure = RuntimeError("the device is lost")
                ticket = await stage.enter(order(count, count=2, steps=2))
                with pytest.raises(RuntimeError, match="the device is lost"):
                    await ticket.images()
                assert stage.engine.failures_in_a_row == count
                assert (stage.engine.running, stage.engine.waiting) == (0, 0)
            gate.failure = None
            assert await (await stage.enter(order(9, steps=2))).images() == ["9"]
            assert stage.engine.failures_in_a_row == 0

        play(scenario)

    def test_an_image_that_cannot_be_prepared_or_decoded_fails_alone(self) -> None:
        class Picky(FakeModel):
            async def prepare(
                self, asked: Sequence[tuple[Recipe, Row]]
            ) -> Sequence[Prepared | Exception]:
                made = await super().prepare(asked)
                return [
                    MEMORY if row.seed == 1 else each
                    for (_, row), each in zip(asked, made, strict=True)
                ]

            async def decode(
                self, size: Size, latents: Sequence[str]
            ) -> Sequence[Decoded[str] | Exception]:
                return [MEMORY if each == "2" else Decoded(each) for each in latents]

        async def scenario(stage: Stage) -> None:
            stage.engine._model = model = Picky(stage.clock)
            tickets = [await stage.engine.enter(order(seed, steps=1)) for seed in (1, 2, 3)]
            await settle()
            outcomes = [
                isinstance(ticket._done.exception(), OutOfMemoryError) for ticket in tickets
            ]
            assert outcomes == [True, True, False]
            assert await tickets[2].images() == ["3"]
            assert seeds_that_joined(model) == [2, 3]
            assert stage.engine.failures_in_a_row == 0

        play(scenario)


async def seen_by(ticket: Ticket[str]) -> list[str]:
    """Previews and image, in the order they came."""
    previews = [preview async for preview in ticket.previews()]
    return [*previews, *await ticket.images()]


class TestPreviews:
    @pytest.mark.parametrize(
        ("steps", "count", "at"),
        [
            (20, 0, []),
            (20, 1, [10]),
            (20, 2, [7, 13]),
            (20, 3, [5, 10, 15]),
            (4, 3, [1, 2, 3]),
            (3, 3, [1, 2]),  # fewer steps than previews: one a step, and the image at the last
            (2, 3, [1]),
            (1, 3, []),
            (1, 1, []),
        ],
    )
    def test_they_come_in_order_evenly_spread_before_the_image(
        self, steps: int, count: int, at: list[int]
    ) -> None:
        async def scenario(stage: Stage) -> None:
            ticket = await stage.enter(order(7, steps=steps, previews=count))
            await stage.step(steps)
            assert await seen_by(ticket) == [*(f"7@{step}" for step in at), "7"]

        play(scenario)

    @given(steps=st.integers(1, 150), count=st.integers(0, 3))
    @settings(deadline=None, max_examples=30)
    def test_as_many_as_asked_for_if_there_are_steps_enough(self, steps: int, count: int) -> None:
        async def scenario(stage: Stage) -> None:
            stage.model.ticking.is_open = True
            ticket = await stage.engine.enter(order(7, steps=steps, previews=count))
            *previews, image = await seen_by(ticket)
            assert image == "7"
            at = [int(preview.removeprefix("7@")) for preview in previews]
            assert len(set(at)) == min(count, steps - 1)
            gaps = [later - earlier for earlier, later in zip([0, *at], [*at, steps], strict=True)]
            if len(at) == count:
                # The ends of a gap are off by half a step at most.
                assert all(abs(gap - steps / (count + 1)) <= 1 for gap in gaps)

        play(scenario)

    def test_they_keep_no_other_image_from_its_steps(self) -> None:
        async def scenario(stage: Stage) -> None:
            streamed = await stage.enter(order(1, steps=4, previews=1))
            other = await stage.enter(order(2, steps=3))
            stage.model.decoding.is_open = False
            await stage.step(4)
            stage.model.decoding.open()
            await settle()
            assert await other.images() == ["2"]
            assert await seen_by(streamed) == ["1@2", "1"]
            assert stage.model.decoded == [["1@2"], ["1", "2"]]

        play(scenario)

    def test_a_preview_that_cannot_be_decoded_ends_the_stream(self) -> None:
        async def scenario(stage: Stage) -> None:
            ticket = await stage.enter(order(1, steps=4, previews=1))
            stage.model.decoding.failure = ZeroDivisionError("broken")
            await stage.step(2)
            with pytest.raises(ZeroDivisionError):
                await seen_by(ticket)
            await stage.step()
            assert stage.engine.running == 0

        play(scenario)


def test_one_loop_that_ends_ends_them_all() -> None:
    """A fault of the engine's own is not hidden: the replica is replaced."""

    async def run() -> None:
        stage = Stage()
        stage.model.ticking.is_open = True
        stage.engine._on_tick = lambda images, waiting: 1 / 0  # type: ignore[assignment]
        loop = asyncio.create_task(stage.engine.run())
        await stage.engine.enter(order(steps=1))
        await settle()
        assert loop.done()
        with contextlib.suppress(BaseExceptionGroup):
            await loop

    asyncio.run(run())


asked = st.tuples(
    st.integers(0, 6),  # turns of the event loop until it comes
    st.sampled_from([SMALL, LARGE, Size(width=64, height=128)]),
    st.integers(1, 6),  # steps
    st.integers(1, 3),  # images
    st.sampled_from(["paying", "free"]),
    st.integers(0, 3),  # previews
    st.none() | st.integers(0, 60),  # turns until its client leaves
)


@given(crowd=st.lists(asked, min_size=1, max_size=12), slots=st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_whoever_stays_gets_the_images_asked_for_and_all_slots_come_back(
    crowd: list[tuple[int, Size, int, int, Priority, int, int | None]], slots: int
) -> None:
    async def client(stage: Stage, index: int) -> None:
        pause, size, steps, count, priority, previews, patience = crowd[index]
        for _ in range(pause):
            await asyncio.sleep(0)
        first_seed = 10 * index
        ticket = await stage.engine.enter(
            order(
                first_seed,
                count=count,
                steps=steps,
                size=size,
                priority=priority,
                previews=previews if count == 1 else 0,
            )
        )
        if patience is not None:
            for _ in range(patience):
                await asyncio.sleep(0)
            ticket.give_up()
            return
        images = (await seen_by(ticket))[-count:]
        assert images == [str(first_seed + i) for i in range(count)]

    async def scenario(stage: Stage) -> None:
        stage.model.ticking.is_open = True
        async with asyncio.TaskGroup() as clients:
            for index in range(len(crowd)):
                clients.create_task(client(stage, index))
        await settle()
        assert stage.engine.running == 0
        assert all(len(tick.active) <= slots for tick in stage.model.ticks)
        assert stage.model._slots == {}  # every size was released

    play(scenario, slots=slots, max_queue=100)
