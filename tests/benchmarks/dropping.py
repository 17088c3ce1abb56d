"""AdapterDrop: eight adapters on the same 64 sentences, a Switcher against the adapters library's ``Parallel``.

The library repeats the rows at the first adapter, too, and so runs the layers below it once a sentence. Every sentence
is another one: what is shared is shared among the adapters only.
"""

from typing import Any

import torch
from switching import in_turn, plain, registered

from pointsman.sdk import Parallel, Switcher
from pointsman.sdk.bases.find import find_base
from pointsman.sdk.data import load_task_data

SENTENCES = 64
ADAPTERS = 8
DROPPED = (0, 3, 5)
ROUNDS = 3


def run(bench: str, data: str) -> dict[str, Any]:
    """Rows a second, a row being a sentence for one adapter, without the adapters of the lowest five of six layers."""
    from adapters.composition import Parallel as LibraryParallel
    from transformers import AutoTokenizer

    split = load_task_data("sst2", data).splits["train" if data == "sample" else "validation"]
    texts = list(dict.fromkeys(row[0] for row in split.texts()))[:SENTENCES]
    names = [f"a{number}" for number in range(ADAPTERS)]
    tokenizer = AutoTokenizer.from_pretrained(str(find_base("minilm").files.directory))
    most = DROPPED[-1]
    with registered(ADAPTERS) as registry, Switcher("minilm", registry=registry) as switcher:
        model = plain(registry, ADAPTERS)
        model.set_active_adapters(LibraryParallel(*names), skip_layers=list(range(most)))
        model.eval()

        def peer() -> list[torch.Tensor]:
            with torch.inference_mode():
                outputs = model(**tokenizer(texts, padding=True, return_tensors="pt"))
            return [output.logits for output in outputs]

        ours = [lambda dropped=dropped: switcher.predict(Parallel(*names), texts, drop_layers=dropped)
                for dropped in DROPPED]  # fmt: skip
        *shared, theirs = in_turn(*ours, peer, rounds=ROUNDS)
        answers = zip(*ours[-1](), strict=True)
        apart = max(
            abs(answer.probabilities["positive"] - float(row[1]))
            for column, logits in zip(answers, peer(), strict=True)
            for answer, row in zip(column, logits.softmax(dim=1), strict=True)
        )
    rows = len(texts) * ADAPTERS
    return {
        "ours": rows / shared[-1],
        "peer": rows / theirs,
        "ratio": theirs / shared[-1],
        "unit": "rows/s",
        **{f"ours_of_{dropped}": rows / time for dropped, time in zip(DROPPED, shared, strict=True)},
        "largest_difference": apart,
        "sentences": len(texts),
        "data": "sst2" if data != "sample" else "sample",
    }
