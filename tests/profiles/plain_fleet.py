"""A fleet of one cell, simulated plainly: objects, one event list, every step an event of its own.

Written from the rules, not from the kernel; it shares only the draws and the autoscaler's rule,
which have tests of their own. Slow, and meant to be read.
"""

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec.structs import replace

from profiles.fleet.kernel import streams as d
from profiles.fleet.kernel.autoscaler import delayed, desired
from profiles.schema.fleet import Fleet, People

WORK, LIFE, FAILURE, CONTROL, TIMER, ARRIVAL = range(6)  # who goes first at one instant


@dataclass(eq=False)
class Person:
    number: int
    paying: bool
    patience_s: float
    wanted_s: float = 0.0
    sent_s: float = 0.0
    attempt: int = 1
    wish: int = 0
    wants: int = 1  # images
    had: int = 0
    ideal_s: float = 0.0  # when the wish would be due if servers took no time
    work: float = 0.0
    where: str = "rest"  # rest | served | tail
    images: "list[Image]" = field(default_factory=list)
    done_s: float = 0.0
    timer: int = 0  # only the newest counts

    @property
    def until_s(self) -> float:
        return self.wanted_s + self.patience_s


@dataclass(eq=False)
class Image:
    person: Person
    left: int
    where: str = "line"  # line | batch | over
    server: "Server | None" = None
    line: "list[Image] | None" = None

    @property
    def paying(self) -> bool:
        return self.person.paying

    @property
    def work(self) -> float:
        return self.person.work


@dataclass(eq=False)
class Server:
    number: int
    phase: str = "off"
    line: list[Image] = field(default_factory=list)
    batch: list[Image | None] = field(default_factory=list)
    event: int = 0
    life: int = 0
    told: bool = False
    claimed: int = 0
    changed_s: float = 0.0  # when `ongoing` last did
    tick_s: float = 0.0  # when the step or batch that runs ends

    @property
    def ongoing(self) -> int:
        return len({one.person for one in [*self.line, *self.batch] if one is not None})


class PlainFleet:
    def __init__(
        self,
        fleet: Fleet,
        people: People,
        times_s: list[float],
        *,
        seed: int,
        duration_s: float,
        slo_s: float,
        drain_s: float,
    ) -> None:
        self.fleet, self.people, self.times = fleet, people, times_s
        self.seed = d.cell_seed(seed, 0)
        self.end_s, self.slo_s, self.stop_s = duration_s, slo_s, duration_s + drain_s
        self.rows = math.ceil(duration_s / 60) + 1
        self.counts: dict[str, np.ndarray[Any, Any]] = {}
        self.events: list[tuple[float, int, int, int, Any]] = []
        self.sequence = 0
        self.now = 0.0
        self.servers = [Server(n) for n in range(fleet.gpus)]
        self.alive: list[Server] = []
        self.central: list[Image] = []
        self.drawn: Counter[int] = Counter()
        self.turn = 0
        self.flight = 0
        self.inside: set[Person] = set()
        self.latencies: list[float] = []
        self.waits: list[float] = []
        self.requests = self.attempts = 0
        self.good = {True: 0, False: 0}

    # -- bookkeeping

    def count(self, name: str, t_s: float, amount: float = 1.0) -> None:
        row = self.rows - 1 if t_s >= self.end_s else min(int(t_s / 60), self.rows - 2)
        self.counts.setdefault(name, np.zeros(self.rows))[row] += amount

    def draw(self, stream: int, n: int | None = None) -> float:
        if n is None:
            n = self.drawn[stream]
            self.drawn[stream] += 1
        return d.draw(self.seed, stream, n)

    def at(self, t_s: float, rank: int, number: int, thing: Any) -> int:
        self.sequence += 1
        heapq.heappush(self.events, (t_s, rank, number, self.sequence, thing))
        return self.sequence

    def run(self) -> "PlainFleet":
        scaling = self.fleet.autoscaling
        first = self.fleet.gpus if scaling is None else min(scaling.least, self.fleet.gpus)
        for server in self.servers[:first]:
            self.rise(server)
        self.target, self.direction, self.since_s = first, 0, 0.0
        self.samples: list[int] = []
        self.ongoing = 0.0
        if scaling is not None:
            self.next_sample_s = scaling.sample_s
            self.next_report_s = scaling.metrics_interval_s
            self.at(scaling.control_s, CONTROL, 0, None)
        self.failures = 0
        self.next_failure()
        if self.times:
            self.at(self.times[0], ARRIVAL, 0, 0)
        arrivals = len(self.times)
        while self.events and (arrivals or self.inside):
            t_s, rank, number, sequence, thing = heapq.heappop(self.events)
            if rank == WORK and thing.event != sequence:
                continue
            if rank == LIFE and thing.life != sequence:
                continue
            if rank == TIMER and thing.timer != sequence:
                continue
            if t_s > self.stop_s:
                break
            self.let_pass(t_s)
            if rank == WORK:
                self.tick(thing)
            elif rank == LIFE:
                self.live_on(thing)
            elif rank == FAILURE:
                self.fail()
            elif rank == CONTROL:
                self.control()
            elif rank == TIMER:
                thing.timer = 0
                if thing.where == "rest":
                    self.send(thing)
                else:
                    self.hang_up(thing)
            else:
                arrivals -= 1
                if arrivals:
                    self.at(self.times[number + 1], ARRIVAL, number + 1, None)
                self.arrive(number)
        self.people = replace(self.people, retry="none")
        self.end_s = min(self.end_s, self.now)
        for person in list(self.inside):
            self.ended(person, "timeout")
        return self

    def let_pass(self, t_s: float) -> None:
        next_minute_s = min((int(self.now / 60) + 1) * 60.0, self.end_s)
        if self.now < next_minute_s < t_s:
            self.let_pass(next_minute_s)
        span = t_s - self.now
        busy = [len(server.batch) for server in self.servers if server.batch]
        self.count("in_flight", self.now, self.flight * span)
        self.count("gpus_ready", self.now, len(self.alive) * span)
        self.count("gpus_busy", self.now, len(busy) * span)
        self.count("images_running", self.now, sum(busy) * span)
        self.now = t_s

    # -- people

    def arrive(self, number: int) -> None:
        people = self.people
        person = Person(
            number=number,
            paying=people.paying_share >= 1 or self.draw(d.CLASS, number) < people.paying_share,
            patience_s=self.table(people.patience_s, d.PATIENCE, number),
        )
        person.ideal_s = self.now
        self.inside.add(person)
        self.want(person, self.now)
        self.send(person)

    def table(self, table: tuple[float, ...], stream: int, n: int) -> float:
        if not table:
            return math.inf
        if len(table) == 1:
            return table[0]
        grid = np.linspace(0, 1, len(table))
        return float(np.interp(self.draw(stream, n), grid, table))

    def want(self, person: Person, t_s: float) -> None:
        person.wanted_s, person.attempt = t_s, 1
        person.work = float(self.fleet.service.steps)
        if self.fleet.service.spread == "exponential":
            u = self.draw(d.WORK, person.number * d.WISHES + person.wish)
            person.work *= -math.log1p(-u)
        n = person.number * d.WISHES + person.wish
        if self.people.steps:
            person.work = float(self.pick(self.people.steps, d.STEPS, n))
        person.wants = min(self.pick(self.people.images, d.IMAGES, n), self.allowed(person))
        person.had += person.wants
        self.requests += 1
        self.count("offered", t_s, person.wants)

    def pick(self, mix: tuple[tuple[int, float], ...], stream: int, n: int) -> int:
        values, weights = zip(*mix, strict=True)
        shares = np.cumsum(weights) / sum(weights)
        at = np.searchsorted(shares, self.draw(stream, n), side="right")
        return int(values[min(int(at), len(values) - 1)])

    def allowed(self, person: Person) -> int:
        most = self.people.paying_images if person.paying else self.people.free_images
        return 10**9 if most is None else most - person.had

    def set_timer(self, person: Person, t_s: float) -> None:
        person.timer = self.at(t_s, TIMER, 0, person) if t_s < math.inf else 0

    def ok(self, person: Person, done_s: float) -> None:
        self.flight -= 1
        latency_s = done_s - person.wanted_s
        self.latencies.append(latency_s)
        self.count("completed", done_s, person.wants)
        if latency_s <= self.slo_s:
            self.count("goodput", done_s, person.wants)
            self.good[person.paying] += 1
        self.through(person, done_s, "ok")

    def ended(self, person: Person, outcome: str, retry_after_s: float = 0.0) -> None:
        people = self.people
        self.flight -= 1
        person.timer = 0
        if outcome == "rejected":
            self.count("refused", self.now)
        retried = people.retry != "none" and person.attempt < people.most_attempts
        if retried and outcome in ("rejected", "timeout"):
            pause_s = 0.0
            if people.retry == "backoff":
                longest_s = min(people.cap_s, people.first_s * 2 ** (person.attempt - 1))
                pause_s = retry_after_s + self.draw(d.JITTER) * longest_s
            if self.now + pause_s < person.until_s:
                person.attempt += 1
                person.where = "rest"
                self.set_timer(person, self.now + pause_s)
                return
            outcome = "abandoned"
        self.through(person, self.now, outcome)

    def through(self, person: Person, t_s: float, outcome: str) -> None:
        go_on = self.people.go_on
        self.count(outcome, person.wanted_s)
        person.timer = 0
        while go_on:
            n = person.number * d.WISHES + person.wish
            goes_on = self.draw(d.GO_ON, n) < go_on[min(person.wish, len(go_on) - 1)]
            think_s = self.table(self.people.think_s, d.THINK, n)
            person.ideal_s += think_s
            if not goes_on or self.allowed(person) <= 0 or person.ideal_s >= self.end_s:
                break
            person.wish += 1
            if outcome == "abandoned":
                self.want(person, t_s)
                self.count("abandoned", t_s)
                continue
            if outcome != "unsent":
                t_s += think_s
            self.want(person, t_s)
            if t_s < self.end_s:
                person.where = "rest"
                self.set_timer(person, t_s)
                return
            outcome = "unsent"
            self.count("unsent", t_s)
        self.inside.discard(person)

    def withdraw(self, person: Person) -> None:
        for image in person.images:
            if image.where == "line":
                assert image.line is not None
                image.line.remove(image)
                self.note(image.line)
            elif image.where == "batch":
                server = image.server
                assert server is not None
                server.batch[server.batch.index(image)] = None
                server.changed_s = self.now
                server.told = True
            image.where = "over"

    def hang_up(self, person: Person) -> None:
        self.withdraw(person)
        self.ended(person, "abandoned" if person.until_s <= self.now else "timeout")

    # -- the door

    def send(self, person: Person) -> None:
        self.flight += 1
        self.attempts += 1
        self.count("attempts", self.now, person.wants)
        person.sent_s = self.now
        if not self.alive:
            self.ended(person, "rejected", 1.0)
            return
        central = self.fleet.routing == "central"
        server = self.roomiest() if central else self.chosen()
        line = self.central if central or server is None else server.line
        if self.is_refused(person, server, line):
            return
        place = len(line) if not person.paying else sum(one.paying for one in line)
        person.where, person.done_s = "served", 0.0
        person.images = [Image(person, int(person.work), line=line) for _ in range(person.wants)]
        line[place:place] = person.images
        self.note(line)
        timeout_s = self.people.timeout_s or math.inf
        self.set_timer(person, min(self.now + timeout_s, person.until_s))
        for _ in range(person.wants if central else 1):
            if server is None or not line:
                break
            if central and server.batch:
                server.claimed += 1
            server.told = True
            if not server.batch:
                self.fill(server)
            server = self.roomiest() if central else None

    def chosen(self) -> Server:
        if self.fleet.routing == "round-robin":
            self.turn = (self.turn + 1) % len(self.alive)
            return self.alive[self.turn]
        if self.fleet.routing == "least":
            return min(self.alive, key=lambda one: (one.ongoing, one.changed_s))
        one = self.alive[int(self.draw(d.ROUTE) * len(self.alive))]
        if self.fleet.routing == "random" or len(self.alive) == 1:
            return one
        other = self.alive[int(self.draw(d.ROUTE) * (len(self.alive) - 1))]
        if other is one:
            other = self.alive[-1]
        return other if other.ongoing < one.ongoing else one

    def roomiest(self) -> Server | None:
        def taken(server: Server) -> int:
            return len(server.batch) + server.claimed

        most = self.fleet.batch_limit if self.fleet.policy == "step" else 1
        free = [server for server in self.alive if taken(server) < most]
        return min(free, key=lambda server: (taken(server), server.number), default=None)

    def is_refused(self, person: Person, server: Server | None, line: list[Image]) -> bool:
        fleet, central = self.fleet, self.fleet.routing == "central"
        share = len(self.alive) if central else 1
        tail_s = 0.0 if fleet.policy == "step" else fleet.service.tail_s
        batch_s = tail_s + self.mean_steps() * self.step_s(fleet.batch_limit)
        rate = fleet.batch_limit / batch_s * share
        bound = math.inf if fleet.max_queue is None else fleet.max_queue * share
        excess = len(line) + person.wants - bound
        if line and excess > 0:
            newest = {one.person: None for one in reversed(line) if not one.paying}
            free = [one for one in newest if all(image.where == "line" for image in one.images)]
            retry_s = min(max(math.ceil(excess / rate), 1), 600)
            if not person.paying or sum(one.wants for one in free) < excess:
                self.ended(person, "rejected", retry_s)
                return True
            for one in free:
                if excess > 0:
                    excess -= one.wants
                    self.withdraw(one)
                    self.ended(one, "rejected", retry_s)
        if fleet.deadline_s is None:
            return False
        if central:
            done_s = fleet.service.batch_s(1) - fleet.service.steps * self.step_s(1)
            done_s += person.work * self.step_s(1)
            if server is None:
                done_s += (len(line) + person.wants) / rate
        else:
            assert server is not None
            done_s = self.forecast_s(server, person)
        if done_s > fleet.deadline_s:
            retry_s = min(max(math.ceil(done_s - fleet.deadline_s), 1), 600)
            self.ended(person, "rejected", retry_s)
            return True
        return False

    def forecast_s(self, server: Server, person: Person) -> float:
        service, limit = self.fleet.service, self.fleet.batch_limit
        before = [int(one.work) for one in server.line if one.paying or not person.paying]
        before += [int(person.work)] * (person.wants - 1)
        ahead = len(before)
        work = int(person.work) if service.spread == "fixed" else service.steps
        if self.fleet.policy != "step":
            left_s = server.tick_s - self.now if server.batch else 0.0
            return (
                left_s
                + ahead // limit * (service.tail_s + self.mean_steps() * self.step_s(limit))
                + service.tail_s + work * self.step_s(ahead % limit + 1)
            )  # fmt: skip
        now_s = server.tick_s - self.now if server.batch else 0.0
        lefts = [one.left - 1 for one in server.batch if one is not None and one.left > 1]
        waiting = [work, *reversed(before)]  # popped from its end
        mine = None
        while mine is None or mine in range(len(lefts)):
            while waiting and len(lefts) < limit:
                lefts.append(waiting.pop())
                if not waiting:
                    mine = len(lefts) - 1
            now_s += self.step_s(len(lefts))
            lefts = [left - 1 for left in lefts]
            if mine is not None and lefts[mine] == 0:
                break
            if mine is not None:
                mine -= sum(left == 0 for left in lefts[:mine])
            lefts = [left for left in lefts if left > 0]
        return now_s + service.tail_s

    def mean_steps(self) -> float:
        if not self.people.steps:
            return self.fleet.service.steps
        values, weights = zip(*self.people.steps, strict=True)
        return float(np.average(values, weights=weights))

    def note(self, line: list[Image]) -> None:
        for server in self.servers:
            if server.line is line:
                server.changed_s = self.now

    # -- servers

    def step_s(self, images: int) -> float:
        return self.fleet.service.step_base_s + self.fleet.service.step_image_s * images

    def fill(self, server: Server) -> None:
        fleet, central = self.fleet, self.fleet.routing == "central"
        line = self.central if central else server.line
        deadline_s = fleet.deadline_s or math.inf
        takes = server.phase == "up" or (server.phase == "draining" and not central)
        while takes and len(server.batch) < fleet.batch_limit:
            image = next((one for one in line if self.may_join(one, server)), None)
            if image is None:
                break
            person = image.person
            alone_s = fleet.service.tail_s + person.work * self.step_s(1)
            if self.now + alone_s > person.sent_s + deadline_s:
                self.withdraw(person)
                server.batch = [one for one in server.batch if one is not None]
                self.ended(person, "rejected", 1.0)
                continue
            line.remove(image)
            server.batch.append(image)
            image.where, image.server = "batch", server
            if image is person.images[0]:
                self.waits.append(self.now - person.sent_s)
        server.claimed, server.told = 0, False
        if server.batch:
            self.begin(server)
        elif server.phase == "draining" and not server.line:
            server.phase = "off"

    def may_join(self, image: Image, server: Server) -> bool:
        whole = self.fleet.policy == "request" and self.people.steps
        return not whole or all(one is None or one.work == image.work for one in server.batch)

    def begin(self, server: Server) -> None:
        took_s = self.step_s(len(server.batch))
        if self.fleet.policy != "step":
            longest = max(one.work for one in server.batch if one is not None)
            took_s = self.fleet.service.tail_s + longest * took_s
        server.tick_s = self.now + took_s
        server.event = self.at(server.tick_s, WORK, server.number, server)

    def tick(self, server: Server) -> None:
        is_step = self.fleet.policy == "step"
        done = []
        for one in server.batch:
            if one is not None:
                one.left = one.left - 1 if is_step else 0
                if one.left == 0:
                    done.append(one)
        changed = bool(done) or server.told or not is_step
        if changed:
            server.batch = [one for one in server.batch if one is not None and one.left > 0]
        tail_s = self.fleet.service.tail_s if is_step else 0.0
        for image in done:
            person, image.where = image.person, "over"
            person.done_s = max(person.done_s, self.now + tail_s)
            if any(each.where != "over" for each in person.images):
                continue
            server.changed_s = self.now
            expires_s = min(person.sent_s + (self.people.timeout_s or math.inf), person.until_s)
            if person.done_s > expires_s:
                person.where = "tail"
            else:
                self.ok(person, person.done_s)
        if changed:
            self.fill(server)
        else:
            self.begin(server)

    # -- life

    def rise(self, server: Server) -> None:
        server.phase = "up"
        self.alive.append(server)
        self.fill(server)

    def fall(self, server: Server) -> None:
        self.alive[self.alive.index(server)] = self.alive[-1]
        self.alive.pop()

    def start(self, server: Server) -> None:
        server.phase = "starting"
        least, most = self.fleet.load_least_s, self.fleet.load_most_s
        ready_s = self.now + least + self.draw(d.COLD) * (most - least)
        server.life = self.at(ready_s, LIFE, server.number, server)

    def live_on(self, server: Server) -> None:
        if server.phase == "starting":
            self.rise(server)
        elif self.fleet.autoscaling is not None:
            server.phase = "off"
        else:
            self.start(server)

    def next_failure(self) -> None:
        failures = self.fleet.failures
        if failures is None:
            return
        gap = -math.log1p(-self.draw(d.FAILURE, 4 * self.failures + 3))
        per_s = self.fleet.gpus / (failures.gpu_hours_each * 3600)
        self.at(self.now + gap / per_s, FAILURE, 0, None)

    def fail(self) -> None:
        failures = self.fleet.failures
        assert failures is not None
        victim, wide, repair = (self.draw(d.FAILURE, 4 * self.failures + i) for i in range(3))
        group = failures.rack_gpus if wide < failures.rack_share else failures.node_gpus
        least, most = failures.repair_least_s, failures.repair_most_s
        first = int(victim * self.fleet.gpus) // group * group
        for server in self.servers[first : first + group]:
            if server.phase == "down":
                continue
            if server.phase == "up":
                self.fall(server)
            server.phase = "down"
            for image in [*(one for one in server.batch if one is not None), *server.line]:
                if image.where != "over":
                    self.withdraw(image.person)
                    self.ended(image.person, "failed")
            server.batch = []
            server.claimed, server.told, server.event = 0, False, 0
            server.changed_s = self.now
            back_s = self.now + least + repair * (most - least)
            server.life = self.at(back_s, LIFE, server.number, server)
        self.failures += 1
        self.next_failure()

    def control(self) -> None:
        scaling = self.fleet.autoscaling
        assert scaling is not None
        if self.now >= self.next_sample_s:
            self.samples.append(self.flight)
            self.next_sample_s += scaling.sample_s
        if self.now >= self.next_report_s:
            last = self.samples[-round(scaling.look_back_s / scaling.sample_s) :]
            self.ongoing = sum(last) / len(last)
            self.next_report_s += scaling.metrics_interval_s
        if self.alive and self.samples:
            wanted = desired(
                self.ongoing,
                len(self.alive),
                scaling.target_ongoing_requests,
                scaling.upscaling_factor,
                scaling.downscaling_factor,
            )
            target, self.direction, self.since_s = delayed(
                wanted,
                self.target,
                self.now,
                self.direction,
                self.since_s,
                scaling.upscale_delay_s,
                scaling.downscale_delay_s,
            )
            most = min(scaling.most or self.fleet.gpus, self.fleet.gpus)
            self.target = min(max(target, min(scaling.least, self.fleet.gpus)), most)
        live = [one for one in self.servers if one.phase in ("up", "starting")]
        off = [one for one in self.servers if one.phase == "off"]
        for server in off[: max(0, self.target - len(live))]:
            self.start(server)
        surplus = sorted(live, key=lambda one: (one.phase == "up", -one.number))
        for server in surplus[: max(0, len(live) - self.target)]:
            if server.phase == "starting":
                server.phase, server.life = "off", 0
            else:
                self.fall(server)
                server.phase = "draining"
                if not server.batch:
                    self.fill(server)
        self.at(self.now + scaling.control_s, CONTROL, 0, None)
