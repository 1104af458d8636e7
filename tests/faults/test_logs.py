"""Workers that print without an end: the disk, the node's memory, and everybody else's patience."""

from __future__ import annotations

import re
from collections.abc import Callable

from .drivers import Driver

KEPT = 300_000
SMALL = f"""
from skate.client import start as starting
starting.BOOT = (
    "import sys; sys.path[:] = sys.argv[3].split('\\\\n'); import skate.node.logs as logs; logs.KEPT_BYTES = {KEPT}; "
    + starting.BOOT
)

def on_disk():
    folder = os.path.join(current.runtime.context().session_dir, "logs")
    return sum(os.stat(file.path).st_blocks * 512 for file in os.scandir(folder))

def node_memory(field):
    with open(f"/proc/{{current.runtime.node_process.pid}}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))
"""

PRINTS = """
cluster()

@skate.remote
class Printer:
    def speak(self, start, count):
        for i in range(start, start + count):
            print(f"line {i} " + "x" * 80)

printer = Printer.remote()
most = 0
for start in range(0, 100_000, 5_000):
    skate.get(printer.speak.remote(start, 5_000))
    end = time.monotonic() + 5
    while on_disk() > %d and time.monotonic() < end:
        time.sleep(0.005)
    most = max(most, on_disk())
print("most", most)
skate.shutdown()
"""


def test_log_files_stay_small_and_every_line_arrives(drive: Callable[..., Driver]) -> None:
    driver = drive(SMALL + PRINTS % (2 * KEPT + 200_000))
    assert driver.wait(25) == 0, driver.err
    assert int(driver.said("most")) <= 2 * KEPT + 200_000
    lines = [int(found) for found in re.findall(r"^\(Printer pid=\d+\) line (\d+) x{80}$", driver.out, re.MULTILINE)]
    assert lines == list(range(100_000))
    driver.nothing_left()


FLOOD = """
cluster(num_cpus=4)

@skate.remote
class Flood:
    def run(self, stop):
        chunk = (b"y" * 99 + b"\\n") * 2000
        count = 0
        while not os.path.exists(stop):
            os.write(1, chunk)
            count += len(chunk)
            time.sleep(0.0005)
        return count

@skate.remote
class Asker:
    def latencies(self, seconds):
        found = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.monotonic()
            skate.get_actor("asker")
            found.append(time.monotonic() - start)
            time.sleep(0.002)
        return sorted(found)

asker = Asker.options(name="asker").remote()
skate.get(asker.latencies.remote(0.1))
before = node_memory("VmRSS")
floods = [Flood.remote(), Flood.remote()]
stop = os.path.join(current.runtime.context().session_dir, "stop")
counts = [flood.run.remote(stop) for flood in floods]
time.sleep(0.2)
found = skate.get(asker.latencies.remote(2.0))
touch(stop)
written = sum(skate.get(counts))
sys.stdout.flush()
os.write(2, f"written {written} memory {node_memory('VmHWM') - before} ".encode())
os.write(2, f"asked {len(found)} p50 {found[len(found) // 2]} p95 {found[len(found) * 95 // 100]} most {found[-1]}\\n".encode())
os._exit(0)
"""


def test_a_flood_of_output_starves_nobody(drive: Callable[..., Driver]) -> None:
    driver = drive(SMALL + FLOOD)
    assert driver.wait(25) == 0, driver.err
    figures = dict(re.findall(r"(written|memory|asked|p50|p95|most) (\S+)", driver.err))
    assert len(driver.out) > 1 << 20
    assert int(figures["written"]) > 50 << 20, figures
    assert int(figures["memory"]) < 64 << 20, figures
    assert int(figures["asked"]) > 50, figures
    assert float(figures["p50"]) < 0.03 and float(figures["p95"]) < 0.2, figures
    driver.nothing_left()
