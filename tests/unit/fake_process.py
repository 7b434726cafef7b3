"""One process of a pretended training, without torch: does what its order says of its rank. Run as a module."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    order = json.loads(Path(sys.argv[1]).read_text())
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "none"))
    folder = Path(order["folder"])
    told = [rank, os.environ.get("WORLD_SIZE"), os.environ.get("MASTER_ADDR"), str(order["threads"])]
    (folder / f"{rank}.{os.getpid()}").write_text(" ".join(map(str, told)))
    if "--with-parent" in sys.argv:
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(75)), daemon=True).start()
    does = order["does"].get(rank, "end")
    if does == "wait for word":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
        time.sleep(60)
    elif does == "wait":
        time.sleep(60)
    elif does == "hold out":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif does == "fail":
        sys.exit(3)
    elif does == "run out of memory":
        parts = Path(order["state"]) / "abc" / "parts"
        tries = int(parts.read_text()) if parts.exists() else 1
        if tries < 4:
            parts.parent.mkdir(parents=True, exist_ok=True)
            parts.write_text(str(2 * tries))
            sys.exit(1)


if __name__ == "__main__":
    main()
