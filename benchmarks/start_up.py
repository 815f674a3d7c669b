"""Seconds until the command answers ``--help`` and ``--version``: the least of ten starts (aim: 0.3 s)."""

import subprocess
import sys
import time

for option in ("--help", "--version"):
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "histoquilt", option], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    print(f"{option}: {min(seconds):.2f} s")
