"""What tasks and actors print arrives on the driver's terminal: whole lines, named, none lost, repetitions folded."""

from __future__ import annotations

import re
from collections import Counter

from .scripts import run_script

LINE = re.compile(r"^\((?P<name>\S+).*?pid=(?P<pid>\d+)\) (?P<text>.*)$")


def parsed(text: str) -> list[tuple[str, int, str]]:
    out = []
    for line in text.splitlines():
        found = LINE.match(line)
        assert found, f"a line without a source: {line!r}"
        out.append((found["name"], int(found["pid"]), found["text"]))
    return out


def test_name_and_pid() -> None:
    done = run_script("""
        import os, sys, skate
        skate.init(num_cpus=1)

        @skate.remote
        def speak():
            print("to stdout")
            print("to stderr", file=sys.stderr)
            return os.getpid()

        @skate.remote
        class Speaker:
            def speak(self):
                print("from the actor")
                return os.getpid()

        task = skate.get(speak.remote())
        speaker = Speaker.remote()
        actor = skate.get(speaker.speak.remote())
        skate.shutdown()
        print(f"(main pid=0) {task} {actor}")
    """)
    assert done.returncode == 0, done.stderr
    out, err = parsed(done.stdout), parsed(done.stderr)
    task, actor = (int(part) for part in out.pop()[2].split())
    assert ("speak", task, "to stdout") in out
    assert ("Speaker", actor, "from the actor") in out
    assert err == [("speak", task, "to stderr")]


def test_no_line_is_lost_or_torn() -> None:
    done = run_script("""
        import os, skate
        skate.init(num_cpus=2)

        @skate.remote
        def speak(who):
            for i in range(2000):
                print(f"{who}:{i}:" + "x" * (i % 200))
            os.write(1, b"".join(b"%d:raw%d:\\n" % (who, i) for i in range(100)))

        skate.get([speak.remote(who) for who in range(4)])
        skate.shutdown()
    """)
    assert done.returncode == 0, done.stderr
    seen: dict[str, list[str]] = {}
    for _, _, text in parsed(done.stdout):
        who, what, rest = text.split(":")
        assert set(rest) <= {"x"}
        seen.setdefault(who, []).append(what)
    assert sorted(seen) == ["0", "1", "2", "3"]
    for lines in seen.values():
        assert [line for line in lines if not line.startswith("raw")] == [str(i) for i in range(2000)]
        assert [line for line in lines if line.startswith("raw")] == [f"raw{i}" for i in range(100)]


def test_the_last_line_of_a_killed_worker_arrives() -> None:
    done = run_script("""
        import os, skate
        skate.init(num_cpus=1)

        @skate.remote(max_retries=0)
        def die():
            print("without an end of line", end="", flush=True)
            os._exit(1)

        try:
            skate.get(die.remote())
        except skate.exceptions.WorkerCrashedError:
            pass
        skate.shutdown()
    """)
    assert done.returncode == 0, done.stderr
    assert "without an end of line" in done.stdout


def test_repeated_lines_are_folded() -> None:
    done = run_script("""
        import skate
        skate.init(num_cpus=4)

        @skate.remote(num_cpus=1)
        class Speaker:
            def speak(self):
                print("the same everywhere")

        speakers = [Speaker.remote() for _ in range(4)]
        skate.get([speaker.speak.remote() for speaker in speakers])
        skate.shutdown()
    """)
    assert done.returncode == 0, done.stderr
    lines = [text for _, _, text in parsed(done.stdout)]
    assert len(lines) == 2, lines
    assert lines[0] == "the same everywhere"
    assert re.match(r"the same everywhere \[repeated 3x", lines[1])


def test_one_process_may_repeat_itself() -> None:
    done = run_script("""
        import skate
        skate.init(num_cpus=1)
        skate.get(skate.remote(lambda: [print("again") for _ in range(5)] and None).remote())
        skate.shutdown()
    """)
    assert Counter(text for _, _, text in parsed(done.stdout)) == {"again": 5}


def test_silence_when_asked() -> None:
    done = run_script("""
        import skate
        skate.init(num_cpus=1, log_to_driver=False)
        skate.get(skate.remote(lambda: print("unheard")).remote())
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_output_comes_while_the_task_runs() -> None:
    done = run_script("""
        import io, sys, time, threading, skate
        skate.init(num_cpus=1)
        heard = threading.Event()

        class Tee(io.TextIOBase):
            def write(self, text):
                if "early" in text:
                    heard.set()
                return len(text)

        real, sys.stdout = sys.stdout, Tee()

        @skate.remote
        def speak():
            print("early")
            time.sleep(2)

        ref = speak.remote()
        early = heard.wait(1.5)
        sys.stdout = real
        print(early)
        skate.cancel(ref)
    """)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True")
