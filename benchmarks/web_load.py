"""Many clients at once on the web demo: are answers right, what is refused, how fast, and does memory grow?

    python benchmarks/web_load.py --clients 32 --seconds 60

It starts `openvocab serve` in a process of its own. Every client sends images of its own, whose answers were computed
here first and differ from each other, so that an answer meant for another client is seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

import openvocab

CONNECT_TIMEOUT = 60
"""Seconds that a busy server may take for a request of a client; gradio_client's default is 5."""


@dataclass(frozen=True)
class Question:
    """An image, the labels asked for, and the digest of the right answer."""

    path: Path
    labels: str
    digest: str


@dataclass
class Tally:
    """What the clients saw: right, wrong, busy and error, counted; seconds of the right answers; other errors."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def digest(answer: dict[str, Any]) -> str:
    """Name an answer by its size, tags, labels, masks and scores, the latter to three digits."""
    tags = [(tag["label"], round(tag["score"], 3)) for tag in answer["tags"]]
    detections = [(one["label"], round(one["score"], 3), one.get("mask")) for one in answer["detections"]]
    plain = json.dumps([answer["width"], answer["height"], tags, detections], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def questions(pipe: openvocab.Pipeline, count: int, folder: Path) -> list[Question]:
    """Write images that have different answers: the example scenes, turned, with a stripe of their own."""
    made: list[Question] = []
    scenes = openvocab.example_scenes()
    for number in range(count):
        scene = scenes[number % len(scenes)]
        pixels = np.rot90(openvocab.read_image(scene.path), number // len(scenes)).copy()
        pixels = pixels[: 256 - number // (4 * len(scenes))]
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        answer = json.loads(json.dumps(pipe(path, list(scene.labels)).to_dict()))
        made.append(Question(path, ", ".join(scene.labels), digest(answer)))
    if len({each.digest for each in made}) < count:
        raise SystemExit("two images have the same answer; a mix-up could not be seen")
    return made


def ask(client: Client, own: Sequence[Question], until: float, tally: Tally, lock: threading.Lock) -> None:
    """Be one client: ask in turn until the time is over."""
    turn = 0
    while time.monotonic() < until:
        question = own[turn % len(own)]
        turn += 1
        began = time.monotonic()
        try:
            answer = client.predict(handle_file(str(question.path)), question.labels, api_name="/chain")
            said = "right" if digest(answer) == question.digest else "wrong"
        except Exception as error:
            said = "busy" if "full" in str(error).lower() else "error"
            if said == "error":
                tally.errors.append(f"{type(error).__name__}: {error}"[:300])
            else:
                time.sleep(0.2)
        with lock:
            tally.counts[said] += 1
            if said == "right":
                tally.seconds.append(time.monotonic() - began)
    client.close()


def load(url: str, asked: Sequence[Question], clients: int, seconds: float) -> Tally:
    """Let clients ask for some seconds once all are connected, each its own share of the questions."""
    own = [asked[number::clients] for number in range(clients)]
    connected = [Client(url, verbose=False, httpx_kwargs={"timeout": CONNECT_TIMEOUT}) for _ in own]
    tally, lock, until = Tally(), threading.Lock(), time.monotonic() + seconds
    pairs = zip(connected, own, strict=True)
    threads = [threading.Thread(target=ask, args=(client, share, until, tally, lock)) for client, share in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


@contextmanager
def served(options: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Start the server, and give its address and the number of its process."""
    command = [sys.executable, "-m", "openvocab.ui.cli.main", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr or ())
        url = next(line for line in lines if "ready at" in line).split("ready at ")[1].split(";")[0]
        reader = threading.Thread(target=lambda: [None for _ in lines], daemon=True)
        reader.start()
        try:
            yield url, process.pid
        finally:
            process.terminate()
            reader.join()


def resident(process: int) -> float:
    """Megabytes of memory that a process holds."""
    status = Path(f"/proc/{process}/status").read_text("ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def report(tally: Tally, seconds: float) -> dict[str, Any]:
    """Sum up."""
    times = np.percentile(tally.seconds, [50, 95]).round(2).tolist() if tally.seconds else [None, None]
    plain = {name: tally.counts[name] for name in ("right", "wrong", "busy", "error")}
    rate = round(tally.counts["right"] / seconds, 2)
    return {**plain, "right_a_second": rate, "p50_s": times[0], "p95_s": times[1], "errors": tally.errors[:5]}


def main() -> None:
    """Warm up, measure, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=15.0)
    parser.add_argument("--queue", type=int, default=32)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = questions(openvocab.load("pocket", device="cpu"), args.clients, Path(folder))
        with served(["--device", "cpu", "--queue", str(args.queue)]) as (url, process):
            load(url, asked, args.clients, args.warm_up)
            before = resident(process)
            tally = load(url, asked, args.clients, args.seconds)
            after = resident(process)
    memory = {"mb_after_warm_up": round(before, 1), "mb_at_the_end": round(after, 1)}
    print(json.dumps({"clients": args.clients, "seconds": args.seconds, **report(tally, args.seconds), **memory}))


if __name__ == "__main__":
    main()
