"""A process that puts answers into an outbox until it is killed; prints a number once `put` has returned."""

import sys
from pathlib import Path

import numpy as np

from NNActiveLogic.client.answers import Answer, Kind
from NNActiveLogic.client.api import Client
from NNActiveLogic.client.outbox import Outbox


def put(outbox):
    number = 0
    while True:
        outbox.put(f"patch{number % 5}", Answer(Kind.LABELLED, np.full((4, 4, 4), number % 7)), number // 5)
        number += 1
        print(number, flush=True)


def send(outbox, url):
    client = Client(url, "token-ann")
    while outbox.counts().waiting:
        outbox.flush(client, now=True)
    print("empty", flush=True)


if __name__ == "__main__":
    box = Outbox(Path(sys.argv[2]), "http://127.0.0.1:1", "project", "ann")
    put(box) if sys.argv[1] == "put" else send(box, sys.argv[3])
