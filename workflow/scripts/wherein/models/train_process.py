"""One process of a training, started as `python -m wherein.models.train_process ORDER.json`, several side by side.

Which one it is and how many there are it hears from who started it: torchrun's variables, which
`wherein.models.training.together` sets as well, or srun's.
"""

import argparse
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch

from wherein.models.train import train_model
from wherein.models.training.distributed import share
from wherein.models.training.signals import TRY_AGAIN

SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS", "LOCAL_RANK": "SLURM_LOCALID"}
"""What srun calls number, count and number on its machine of a process."""


def train(job: Mapping[str, Any]) -> None:
    """Train as the order says: arguments of `wherein.models.train.train_model`."""
    train_model(**job)


def take_place(environment: MutableMapping[str, str]) -> None:
    """Take number and count of this process from srun where nobody else says them, in place."""
    if "RANK" not in environment and all(name in environment for name in SLURM.values()):
        environment |= {name: environment[own] for name, own in SLURM.items()}


def end_with_parent() -> None:
    """End this process as soon as its input does: whoever holds the other end is gone."""
    # not sys.stdin: a thread that waits within it aborts an interpreter that ends
    os.read(0, 1)
    os._exit(TRY_AGAIN)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("order", type=Path, help="JSON: arguments of train_model")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args()
    if options.with_parent:
        threading.Thread(target=end_with_parent, daemon=True).start()
    take_place(os.environ)
    rank, world = share()
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        # one of them tells how it goes, the others what goes wrong
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)sZ %(levelname)s [{rank + 1} of {world}] %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    if torch.cuda.device_count() > (local := int(os.environ.get("LOCAL_RANK", "0"))):
        # before anything else asks a GPU: that would be the first one, for all processes
        torch.cuda.set_device(local)
    train(json.loads(options.order.read_text()))


if __name__ == "__main__":
    main()
