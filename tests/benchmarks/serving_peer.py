"""The peer of ``serve-mixed``: plain adapters, ``set_active_adapters`` under a lock, in the same kind of server."""

import asyncio
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import torch
import uvicorn
from adapters import AutoAdapterModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from transformers import AutoTokenizer, logging

from pointsman.sdk.bases.find import find_base


def main(exported: Path) -> None:
    """Load every adapter in a directory, and serve them."""
    logging.set_verbosity_error()
    base = str(find_base("minilm").files.directory)
    model, tokenizer = AutoAdapterModel.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    names = {path.name: model.load_adapter(str(path), use_safetensors=True) for path in sorted(exported.iterdir())}
    lock = threading.Lock()

    def answer(name: str, texts: list[str]) -> list[float]:
        with lock, torch.inference_mode():
            model.set_active_adapters(names[name])
            outputs = model(**tokenizer(texts, return_tensors="pt"))
            probabilities: list[float] = outputs.logits[0].softmax(-1).tolist()
        return probabilities

    async def classify(request: Request) -> JSONResponse:
        body: dict[str, Any] = await request.json()
        return JSONResponse({"data": [{"probs": await asyncio.to_thread(answer, body["model"], body["input"])}]})

    app = Starlette(routes=[Route("/v1/classify", classify, methods=["POST"])])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"on http://127.0.0.1:{listening.getsockname()[1]};", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
