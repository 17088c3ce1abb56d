"""Ours of the bench of whole processes: load adapters, answer one sentence, print the label and the memory.

python first_answer.py HOME ADAPTERS THREADS SENTENCE
"""

import json
import sys
from pathlib import Path

import torch

from pointsman.registry import Registry
from pointsman.sdk import Switcher

home, adapters, threads, sentence = sys.argv[1:]
torch.set_num_threads(int(threads))
with Registry(home) as registry, Switcher("minilm", registry=registry) as switcher:
    for number in range(int(adapters)):
        switcher.load(f"a{number}")
    label = switcher.predict("a0", [sentence])[0].label
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    print(json.dumps({"label": label, "resident": pages * 4096}), flush=True)
