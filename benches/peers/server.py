#!/usr/bin/env python3
"""The server that one would write in an afternoon: FastAPI, PyTorch, hnswlib, the same checkpoint, as many records.

    venv/bin/python benches/peers/server.py [--records 100000] [--port 8000] [--workers 2]
    cargo bench --bench server -- --at 127.0.0.1:8000
"""
import argparse
import os

import hnswlib
import numpy
import torch
import uvicorn
from fastapi import FastAPI
from transformers import AutoTokenizer, BridgeTowerForContrastiveLearning

MINI = os.path.join(os.path.dirname(__file__), "../../models/mini")
RECORDS = int(os.environ.get("RECORDS", "100000"))
torch.set_num_threads(int(os.environ.get("THREADS", "1")))

tokenizer = AutoTokenizer.from_pretrained(MINI)
model = BridgeTowerForContrastiveLearning.from_pretrained(MINI).eval()
dim = model.config.contrastive_hidden_size
kept = f"/tmp/peer-server-{RECORDS}-{dim}.hnsw"
index = hnswlib.Index(space="ip", dim=dim)
if os.path.exists(kept):
    index.load_index(kept)
else:
    random = numpy.random.default_rng(1)
    points = random.normal(size=(2000, dim))[numpy.arange(RECORDS) * 7919 % 2000] + random.normal(scale=0.35, size=(RECORDS, dim))
    index.init_index(RECORDS, ef_construction=200, M=16)
    index.add_items((points / numpy.linalg.norm(points, axis=1, keepdims=True)).astype("float32"))
    index.save_index(kept)
index.set_ef(64)
index.set_num_threads(1)
app = FastAPI()


@torch.inference_mode()
def embed(text):
    tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
    state = model.bridgetower.text_model(**tokens).last_hidden_state[:, 0]
    return torch.nn.functional.normalize(model.itc_text_head(state))[0].numpy()


@app.get("/v1/search")
def search(q: str, n: int = 10):
    ids, distances = index.knn_query(embed(q), k=n)
    return {"results": [
        {"rank": rank + 1, "similarity": float(1 - distance), "id": int(row), "path": f"/photos/{row // 1000:03}/IMG_{row:07}.jpg", "width": 4000, "height": 3000, "format": "jpeg"}
        for rank, (row, distance) in enumerate(zip(ids[0], distances[0]))
    ]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.environ["RECORDS"] = str(options.records)
    os.environ["THREADS"] = str(max(1, os.cpu_count() // options.workers))
    import sys

    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    uvicorn.run("server:app", port=options.port, workers=options.workers, log_level="warning")
