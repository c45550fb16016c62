"""One of the writers that `catalog.py` watches: FOLDER, number of problems, which of how many."""

import sys
from pathlib import Path

from benchmarks.paper_scale import templates, write_round

if __name__ == "__main__":
    folder, num_problems, writer, num_writers = sys.argv[1:]
    for solved in (True, False):
        templates(solved=solved, long=False)
    print("ready", flush=True)
    write_round(Path(folder), 5, int(num_problems), int(writer), int(num_writers))
