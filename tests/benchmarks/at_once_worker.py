"""One of the processes that compute at once: trains for each line of standard input, and says when it is done.

python at_once_worker.py HOME
"""

import os
import sys

from pointsman.registry import Registry
from pointsman.sdk import train

# Whatever is printed meanwhile goes elsewhere: standard output is for the answers.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
with Registry(sys.argv[1]) as registry:
    print("ready", file=answers)
    for _ in sys.stdin:
        # Twenty steps, two evaluations and a version.
        train(
            "sst2", base="minilm", data="sample", registry=registry, max_steps=20, max_train_rows=512, max_eval_rows=64
        )
        print("done", file=answers)
