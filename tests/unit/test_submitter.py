"""The submitter under any order of submissions, leases, answers, deaths and packets taken back."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skate.client.submitter import (
    AHEAD_US,
    BATCH_BYTES_MAX,
    BATCH_TASKS_MAX,
    BATCH_US,
    FAR_BITS,
    UNKNOWN_US,
    Function,
    LeasedWorker,
    Shape,
    Submitter,
    TaskRecord,
    far,
)


class Simulated:
    """What is in the socket of a worker and what it has read: packets of sequence numbers."""

    def __init__(self) -> None:
        self.unread: deque[list[int]] = deque()
        self.read: list[int] = []


class SubmitterMachine(RuleBasedStateMachine):
    """Every task is answered once, or is in one place; a worker never has more than it should."""

    def __init__(self) -> None:
        super().__init__()
        self.submitter = Submitter()
        self.shapes = [self.submitter.shape({"CPU": 1.0}), self.submitter.shape({"CPU": 2.0}, "node")]
        self.functions = [Function(None, None, shape, i) for i, shape in enumerate(self.shapes * 2)]
        self.workers: dict[int, Simulated] = {}
        self.tasks: dict[int, TaskRecord] = {}
        self.done: Counter[int] = Counter()
        self.next_worker = 0
        self.now = 0.0

    @initialize(expected=st.lists(st.sampled_from([UNKNOWN_US, 10.0, 300.0]), min_size=4, max_size=4))
    def measured_before(self, expected: list[float]) -> None:
        for function, expected_us in zip(self.functions, expected, strict=True):
            function.expected_us = expected_us

    def worker(self, data: st.DataObject) -> tuple[LeasedWorker, Simulated]:
        no = data.draw(st.sampled_from(sorted(self.workers)))
        return self.submitter.workers[no], self.workers[no]

    def fill(self, shape: Shape) -> None:
        """Send all there is room for, as the runtime does after each event."""
        while (batch := self.submitter.next_batch(shape)) is not None:
            worker, tasks = batch
            assert worker.shape is shape and 0 < len(tasks) <= BATCH_TASKS_MAX
            if len(tasks) > 1:
                assert sum(task.function.expected_us for task in tasks) <= BATCH_US + 1e-6
                assert sum(len(task.body) for task in tasks) <= BATCH_BYTES_MAX
            assert worker.load_us <= AHEAD_US + BATCH_US + 1e-6 or len(worker.packets) == 1
            self.workers[worker.no].unread.append([task.seq for task in tasks])
        if shape.queue:
            assert not shape.idle, "tasks wait, and so does a worker"
        else:
            self.steal(shape)

    @rule(function=st.integers(0, 3), count=st.integers(1, 80), size=st.sampled_from([10, 2000]))
    def submit(self, function: int, count: int, size: int) -> None:
        chosen = self.functions[function]
        for _ in range(count):
            seq = len(self.tasks) + 1  # 0 is nobody's: a worker that runs nothing says so
            self.tasks[seq] = TaskRecord(seq, chosen, b"x" * size, None)
            chosen.shape.queue.append(self.tasks[seq])
        self.fill(chosen.shape)

    @precondition(lambda self: len(self.workers) < 6)
    @rule(shape=st.integers(0, 1), node=st.integers(0, 2))
    def leased(self, shape: int, node: int) -> None:
        self.next_worker += 1
        number = far(node, self.next_worker)
        self.workers[number] = Simulated()
        self.submitter.add_worker(number, shape, None, 1, self.now)
        self.fill(self.shapes[shape])

    @precondition(lambda self: len(self.workers) + len(self.submitter.coming) < 6)
    @rule(shape=st.integers(0, 1), node=st.integers(1, 2))
    def granted(self, shape: int, node: int) -> None:
        """A worker of another node, which is to be connected; or that fails."""
        self.next_worker += 1
        self.submitter.coming[far(node, self.next_worker)] = self.shapes[shape]

    @precondition(lambda self: self.submitter.coming)
    @rule(fails=st.booleans())
    def connected(self, fails: bool) -> None:
        number, shape = self.submitter.coming.popitem()
        if not fails:
            self.workers[number] = Simulated()
            self.submitter.add_worker(number, shape.no, None, 1, self.now)
            self.fill(shape)

    @rule(shape=st.integers(0, 1), node=st.integers(1, 2), room=st.integers(0, 5), share=st.integers(0, 5))
    def offered(self, shape: int, node: int, room: int, share: int) -> None:
        chosen = self.shapes[shape]
        level = self.submitter.offered(chosen, node, room, share)
        if level is None:
            return
        coming = [number >> FAR_BITS for number, of in self.submitter.coming.items() if of is chosen]
        have, waiting = chosen.has_on(node) + coming.count(node), len(chosen.queue) - len(coming)
        assert have <= level <= max(have + room, share) and level - have <= waiting, "more is asked than can be used"
        chosen.told[node] = level
        assert self.submitter.offered(chosen, node, room, share) is None, "it is asked for once"

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_reads(self, data: st.DataObject) -> None:
        _, simulated = self.worker(data)
        if simulated.unread:
            simulated.read += simulated.unread.popleft()

    @precondition(lambda self: any(w.read for w in self.workers.values()))
    @rule(data=st.data(), each_us=st.sampled_from([1, 20, 400, 5000]), gives_back=st.booleans())
    def answers(self, data: st.DataObject, each_us: int, gives_back: bool) -> None:
        """A worker answers some of what it has read, in order; it may give the rest back, not started."""
        worker, simulated = self.worker(data)
        if not simulated.read:
            return
        count = data.draw(st.integers(1, len(simulated.read)))
        answered, rest = simulated.read[:count], simulated.read[count:]
        function = None
        for seq in answered:
            task = self.submitter.finished(worker, seq)
            assert task is self.tasks[seq]
            self.done[seq] += 1
            function = task.function
        if gives_back:
            back = [task for seq in rest if (task := self.submitter.finished(worker, seq)) is not None]
            self.submitter.requeue(back)
            rest = []
        simulated.read = rest
        self.now += 0.001
        self.submitter.settle(worker, each_us * count, count, function, self.now)
        assert function is not None and 0 < function.expected_us <= max(UNKNOWN_US, 5000)
        self.fill(worker.shape)

    def steal(self, shape: Shape) -> None:
        """Take back half of what the busiest has not read, when another has nothing to do."""
        victim = self.submitter.victim(shape)
        if victim is None:
            return
        assert shape.idle and not shape.queue and len(victim.packets) > 1
        unread = self.workers[victim.no].unread
        seqs: list[int] = []
        for _ in range(min(len(unread), max(1, (len(victim.packets) - 1) // 2))):
            seqs = [*unread.pop(), *seqs]
        if seqs:
            taken = self.submitter.took_back(victim, seqs)
            assert [task.seq for task in taken] == [task.seq for task in shape.queue] == seqs, "order is kept"
            self.fill(shape)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        worker, simulated = self.worker(data)
        unread = {seq for packet in simulated.unread for seq in packet}
        ran, rest = self.submitter.split_dead(worker, unread)
        assert (ran.seq if ran else None) == (simulated.read[0] if simulated.read else None)
        assert [task.seq for task in rest] == [*simulated.read[1:], *sorted(unread)] or len(rest) == len(unread) + max(
            0, len(simulated.read) - 1
        )
        self.submitter.remove_worker(worker)
        del self.workers[worker.no]
        self.submitter.requeue(rest)
        if ran is not None:  # out of retries
            self.done[ran.seq] += 1
        self.fill(worker.shape)

    @rule(linger=st.sampled_from([0.0, 0.002]))
    def return_idle(self, linger: float) -> None:
        for worker in self.submitter.returnable(self.now, linger):
            assert not worker.inflight and not worker.shape.queue
            self.submitter.remove_worker(worker)
            del self.workers[worker.no]

    @rule(shape=st.integers(0, 1))
    def demand(self, shape: int) -> None:
        chosen = self.shapes[shape]
        asked = self.submitter.demand(chosen)
        assert asked is None or asked == chosen.wants() == chosen.asked
        assert bool(chosen.wants()) or not chosen.asked or chosen in self.submitter.lessened, (
            "nothing is asked for in vain"
        )
        assert chosen.wants() <= max(2 * chosen.asked, len(chosen.workers)), "what was asked for is not much too little"
        assert sum(chosen.wants_of(node) - len(chosen.queue) for node in range(3)) == chosen.wants() - len(chosen.queue)

    @invariant()
    def consistent(self) -> None:
        self.submitter.validate()
        under_way = {task.seq for task in self.submitter.tasks()}
        finished = set(self.done)
        assert not under_way & finished and under_way | finished == set(self.tasks), "a task is lost or runs twice"
        assert all(count == 1 for count in self.done.values())
        for no, simulated in self.workers.items():
            sent = {*simulated.read, *(seq for packet in simulated.unread for seq in packet)}
            worker = self.submitter.workers[no]
            assert sent == set(worker.inflight)
            assert all(any(task.seq in sent for task in packet) for packet in worker.packets), "a packet is finished"
            in_packets = [task.seq for packet in worker.packets for task in packet if task.seq in sent]
            assert in_packets == [*simulated.read, *(seq for packet in simulated.unread for seq in packet)]


TestSubmitter = SubmitterMachine.TestCase
TestSubmitter.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def prepared(workers: int, tasks: int, expected_us: float = UNKNOWN_US) -> tuple[Submitter, Shape, list[TaskRecord]]:
    submitter = Submitter()
    shape = submitter.shape({"CPU": 1.0})
    function = Function(None, None, shape, 0)
    function.expected_us = expected_us
    records = [TaskRecord(seq, function, b"", None) for seq in range(tasks)]
    shape.queue.extend(records)
    for no in range(workers):
        submitter.add_worker(no, 0, None, 1, 0.0)
    return submitter, shape, records


def sizes(submitter: Submitter, shape: Shape) -> list[int]:
    out = []
    while (batch := submitter.next_batch(shape)) is not None:
        out.append(len(batch[1]))
        submitter.validate()
    return out


def test_what_was_never_measured_goes_one_at_a_time() -> None:
    assert sizes(*prepared(workers=2, tasks=10)[:2]) == [1, 1]


def test_what_is_short_goes_in_bulk() -> None:
    submitter, shape, _ = prepared(workers=1, tasks=1000, expected_us=10)
    packets = sizes(submitter, shape)
    assert max(packets) * 10 <= BATCH_US and sum(packets) * 10 <= AHEAD_US
    assert sum(packets) >= AHEAD_US / 10 / 2, "the worker has something to do until the answer is back"


def test_few_tasks_are_shared_between_idle_workers() -> None:
    submitter, shape, _ = prepared(workers=2, tasks=4, expected_us=10)
    sizes(submitter, shape)
    assert all(worker.inflight for worker in submitter.workers.values())


def test_a_worker_that_is_to_be_drained_gets_no_more_tasks() -> None:
    """Somebody else was promised it: also when it is idle for the moment between its last answer and its return."""
    submitter, shape, records = prepared(workers=1, tasks=2)
    batch = submitter.next_batch(shape)
    assert batch is not None
    worker = batch[0]
    worker.draining = True
    submitter.finished(worker, records[0].seq)
    submitter.settle(worker, 10, 1, records[0].function, 1.0)
    assert submitter.next_batch(shape) is None


def test_after_a_death_what_ran_is_told_from_what_was_never_read() -> None:
    submitter, shape, _ = prepared(workers=1, tasks=6, expected_us=300)
    assert sizes(submitter, shape) == [1, 1, 1, 1, 1, 1]
    worker = submitter.workers[0]
    ran, rest = submitter.split_dead(worker, {2, 3, 4, 5})
    assert ran is not None and ran.seq == 0
    assert [task.seq for task in rest] == [1, 2, 3, 4, 5]
    submitter.remove_worker(worker)
    submitter.requeue(rest)
    assert [task.seq for task in shape.queue] == [1, 2, 3, 4, 5]
    submitter.validate()


def test_demand_is_told_in_doublings() -> None:
    submitter, shape, _ = prepared(workers=0, tasks=0)
    function = Function(None, None, shape, 0)
    told = []
    for seq in range(1000):
        shape.queue.append(TaskRecord(seq, function, b"", None))
        if (wants := submitter.demand(shape)) is not None:
            told.append(wants)
    assert told[:3] == [1, 2, 5] and len(told) < 15
    shape.queue.clear()
    submitter.patient = False
    assert submitter.demand(shape) == 0
    assert submitter.demand(shape) is None


def test_a_worker_that_nobody_was_asked_for_is_asked_for_again_when_it_was_given_back() -> None:
    submitter, shape, records = prepared(workers=0, tasks=1)
    shape.told = {0: submitter.demand(shape) or 0}
    submitter.add_worker(far(1, 1), 0, None, 1, 0.0)
    (worker, _), shape.told = submitter.next_batch(shape) or (None, None), {}  # another node has given one
    assert worker is not None and submitter.finished(worker, records[0].seq)
    submitter.settle(worker, 10, 1, records[0].function, 1.0)
    assert submitter.demand(shape) is None
    submitter.remove_worker(worker)
    submitter.given_back(shape)
    shape.queue.extend(records)
    assert submitter.demand(shape) == 1


def test_demand_that_shrinks_is_told_when_it_has_stayed_so() -> None:
    submitter, shape, records = prepared(workers=0, tasks=20)
    assert submitter.demand(shape) == 20
    shape.queue.clear()
    assert submitter.demand(shape) is None
    assert submitter.shrunk(1.0, 0.05) == submitter.shrunk(1.04, 0.05) == []
    assert submitter.shrunk(1.06, 0.05) == [shape]
    assert submitter.shrunk(2.0, 0.05) == [], "it is told once"
    submitter.demand(shape)
    submitter.shrunk(3.0, 0.05)
    shape.queue.extend(records)
    assert submitter.grows_again(shape) and submitter.demand(shape) is None, "what was asked for is enough"
    assert submitter.shrunk(3.1, 0.05) == submitter.shrunk(3.2, 0.05) == []
    shape.queue.clear()
    submitter.demand(shape)
    submitter.shrunk(5.0, 0.05)
    shape.queue.extend(records)
    assert submitter.shrunk(6.0, 0.05) == [], "there is more again"


def test_what_waits_behind_a_silent_worker_is_found_once_it_was_silent_for_long() -> None:
    submitter, shape, records = prepared(workers=1, tasks=2, expected_us=10.0)
    behind = shape.queue.pop()
    (worker, _) = submitter.next_batch(shape) or (None, [])
    assert worker is not None and not submitter.ahead
    shape.queue.append(behind)
    assert submitter.next_batch(shape) == (worker, [behind]) and submitter.ahead
    assert submitter.held_up(5.0, 0.01) == [], "nobody knows since when it is silent"
    assert submitter.held_up(5.005, 0.01) == [] and submitter.held_up(5.011, 0.01) == [worker]
    assert submitter.held_up(5.02, 0.01) == [], "it is not asked again at once"
    found = [at for at in range(1, 1000) if submitter.held_up(5.02 + at * 0.01, 0.01)]
    assert 6 < len(found) < 20, "and ever more seldom, as it may be one that cannot answer"
    worker.answered = 15.1
    assert submitter.held_up(15.11, 0.01) == [] and submitter.ahead
    submitter.took_back(worker, [records[1].seq])
    submitter.is_slow(worker)
    assert submitter.next_batch(shape) is None and list(shape.queue) == [records[1]]
    assert submitter.held_up(19.0, 0.01) == [] and not submitter.ahead


def test_nothing_is_sent_behind_a_stream_that_is_slow_because_it_has_yielded_an_item() -> None:
    submitter, shape, records = prepared(workers=1, tasks=2, expected_us=10.0)
    behind = shape.queue.pop()
    (worker, _) = submitter.next_batch(shape) or (None, [])
    assert worker is not None
    submitter.is_slow(worker)
    shape.queue.append(behind)
    submitter.settle(worker, 0, 0, None, 1.0)
    assert submitter.next_batch(shape) is None
    submitter.finished(worker, records[0].seq)
    submitter.settle(worker, 10, 1, records[0].function, 2.0)
    assert submitter.next_batch(shape) == (worker, [behind])
