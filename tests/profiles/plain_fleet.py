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

from profiles import fleet_draws as d
from profiles.fleet_scaling import delayed, desired
from profiles.fleet_values import Fleet, People

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
    work: float = 0.0
    left: int = 0
    where: str = "rest"  # rest | line | batch | tail
    server: "Server | None" = None
    line: "list[Person] | None" = None
    timer: int = 0  # only the newest counts

    @property
    def until_s(self) -> float:
        return self.wanted_s + self.patience_s


@dataclass(eq=False)
class Server:
    number: int
    phase: str = "off"
    line: list[Person] = field(default_factory=list)
    batch: list[Person | None] = field(default_factory=list)
    event: int = 0
    life: int = 0
    told: bool = False
    claimed: int = 0
    changed_s: float = 0.0  # when `ongoing` last did
    tick_s: float = 0.0  # when the step or batch that runs ends

    @property
    def ongoing(self) -> int:
        return len(self.line) + sum(one is not None for one in self.batch)


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
        self.central: list[Person] = []
        self.drawn: Counter[int] = Counter()
        self.turn = 0
        self.flight = 0
        self.inside: set[Person] = set()
        self.latencies: list[float] = []
        self.waits: list[float] = []

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
        for person in self.inside:
            self.count("timeout", person.wanted_s)
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
        self.count("offered", t_s)

    def set_timer(self, person: Person, t_s: float) -> None:
        person.timer = self.at(t_s, TIMER, 0, person) if t_s < math.inf else 0

    def ok(self, person: Person, done_s: float) -> None:
        self.flight -= 1
        latency_s = done_s - person.wanted_s
        self.latencies.append(latency_s)
        self.count("completed", done_s)
        if latency_s <= self.slo_s:
            self.count("goodput", done_s)
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
        if go_on and outcome != "abandoned":
            n = person.number * d.WISHES + person.wish
            goes_on = self.draw(d.GO_ON, n) < go_on[min(person.wish, len(go_on) - 1)]
            due_s = t_s + self.table(self.people.think_s, d.THINK, n)
            if goes_on and due_s < self.end_s:
                person.wish += 1
                self.want(person, due_s)
                person.where = "rest"
                self.set_timer(person, due_s)
                return
        self.inside.discard(person)

    def hang_up(self, person: Person) -> None:
        if person.where == "line":
            assert person.line is not None
            person.line.remove(person)
            self.note(person.line)
        elif person.where == "batch":
            server = person.server
            assert server is not None
            server.batch[server.batch.index(person)] = None
            server.changed_s = self.now
            server.told = True
        self.ended(person, "abandoned" if person.until_s <= self.now else "timeout")

    # -- the door

    def send(self, person: Person) -> None:
        self.flight += 1
        self.count("attempts", self.now)
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
        line.insert(place, person)
        person.where, person.line = "line", line
        self.note(line)
        timeout_s = self.people.timeout_s or math.inf
        self.set_timer(person, min(self.now + timeout_s, person.until_s))
        if server is not None:
            if central and server.batch:
                server.claimed += 1
            server.told = True
            if not server.batch:
                self.fill(server)

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

    def is_refused(self, person: Person, server: Server | None, line: list[Person]) -> bool:
        fleet, central = self.fleet, self.fleet.routing == "central"
        share = len(self.alive) if central else 1
        rate = fleet.capacity_images_per_s / fleet.gpus * share
        if line and fleet.max_queue is not None and len(line) + 1 > fleet.max_queue * share:
            free = [one for one in line if not one.paying]
            retry_s = min(max(math.ceil(1 / rate), 1), 600)
            if not person.paying or not free:
                self.ended(person, "rejected", retry_s)
                return True
            line.remove(free[-1])
            self.note(line)
            self.ended(free[-1], "rejected", retry_s)
        if fleet.deadline_s is None:
            return False
        if central:
            done_s = fleet.service.batch_s(1) - fleet.service.steps * self.step_s(1)
            done_s += person.work * self.step_s(1)
            if server is None:
                done_s += (len(line) + 1) / rate
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
        ahead = len([one for one in server.line if one.paying or not person.paying])
        if self.fleet.policy != "step":
            left_s = server.tick_s - self.now if server.batch else 0.0
            return (
                left_s
                + ahead // limit * service.batch_s(limit)
                + service.batch_s(ahead % limit + 1)
            )
        now_s = server.tick_s - self.now if server.batch else 0.0
        lefts = [one.left - 1 for one in server.batch if one is not None and one.left > 1]
        waiting = [service.steps] * (ahead + 1)
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

    def note(self, line: list[Person]) -> None:
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
        while takes and line and len(server.batch) < fleet.batch_limit:
            person = line.pop(0)
            alone_s = fleet.service.tail_s + person.work * self.step_s(1)
            if self.now + alone_s > person.sent_s + deadline_s:
                self.note(line)
                self.ended(person, "rejected", 1.0)
                continue
            server.batch.append(person)
            person.where, person.server, person.left = "batch", server, fleet.service.steps
            self.waits.append(self.now - person.sent_s)
        server.claimed, server.told = 0, False
        if server.batch:
            self.begin(server)
        elif server.phase == "draining" and not server.line:
            server.phase = "off"

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
        if done:
            server.changed_s = self.now
        for one in done:
            done_s = self.now + (self.fleet.service.tail_s if is_step else 0.0)
            expires_s = min(one.sent_s + (self.people.timeout_s or math.inf), one.until_s)
            if done_s > expires_s:
                one.where = "tail"
            else:
                self.ok(one, done_s)
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
            batch, server.batch = server.batch, []
            line, server.line[:] = list(server.line), []
            for one in [*(one for one in batch if one is not None), *line]:
                self.ended(one, "failed")
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
