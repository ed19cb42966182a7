#!/usr/bin/env python3
"""What a user would pick instead, timed on this machine: run it beside our own benchmark, in the same minute.

    python3 -m venv venv && venv/bin/pip install -r benches/peers/requirements.txt
    venv/bin/python benches/peers/peers.py vision [--model base|large] [--threads 2] [--batch 1 8]
    venv/bin/python benches/peers/peers.py pair   [--model base|large] [--pairs 8]
    venv/bin/python benches/peers/peers.py decode DIR
    venv/bin/python benches/peers/peers.py ann    [--n 100000] [--dim 512] [--k 10]

Every line is NAME<tab>VALUE<tab>UNIT, the best of several runs after one to warm up. Weights are random: the
arithmetic is the same. Only ratios of lines measured in one run say anything; absolute figures are the machine's.
"""
import argparse
import os
import time
import warnings

warnings.filterwarnings("ignore")


def best(work, runs=5):
    """Seconds of the shortest of `runs` runs after a warm-up."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def row(name, value, unit):
    print(f"{name}\t{value:.3f}\t{unit}", flush=True)


def bridgetower_config(model):
    from transformers import BridgeTowerConfig

    hidden, layers, heads, image, patch = dict(base=(768, 12, 12, 288, 16), large=(1024, 24, 16, 294, 14))[model]
    config = BridgeTowerConfig(
        hidden_size=hidden,
        num_attention_heads=heads,
        num_hidden_layers=6,
        contrastive_hidden_size=512,
        logit_scale_init_value=2.66,
        text_config=dict(vocab_size=50265, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden),
        vision_config=dict(hidden_size=hidden, num_hidden_layers=layers, patch_size=patch, image_size=image),
    )
    config._attn_implementation = "eager"
    return config


def vision(options):
    """The vision tower in PyTorch, ONNX Runtime and OpenVINO (float32, bfloat16, dynamic int8)."""
    import numpy
    import onnxruntime
    import openvino
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers.models.bridgetower.modeling_bridgetower import BridgeTowerVisionModel

    torch.set_num_threads(options.threads)
    config = bridgetower_config(options.model)
    side = config.vision_config.image_size
    tower = BridgeTowerVisionModel(config.vision_config).eval()
    for dtype in (torch.float32, torch.bfloat16):
        tower = tower.to(dtype)
        for batch in options.batch:
            pixels = torch.randn(batch, 3, side, side, dtype=dtype)
            with torch.inference_mode():
                seconds = best(lambda: tower(pixels), 3)
            row(f"pytorch {str(dtype)[6:]} {options.model} batch {batch}", batch / seconds, "images/s")
    plain = f"{options.out}/vision_{options.model}.onnx"
    quantised = f"{options.out}/vision_{options.model}_int8.onnx"
    if not os.path.exists(quantised):
        torch.onnx.export(
            tower.to(torch.float32), (torch.randn(2, 3, side, side),), plain, input_names=["x"], output_names=["y"],
            opset_version=17, dynamo=False, dynamic_axes={"x": {0: "b"}},
        )
        quantize_dynamic(plain, quantised, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    for name, path in (("float32", plain), ("int8", quantised)):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        for batch in options.batch:
            pixels = numpy.random.randn(batch, 3, side, side).astype("f4")
            seconds = best(lambda: session.run(None, {"x": pixels}), 3)
            row(f"onnxruntime {name} {options.model} batch {batch}", batch / seconds, "images/s")
    # OpenVINO takes bfloat16 by itself where the processor has it, so each kind is asked for.
    for name, path, kind in (("float32", plain, "f32"), ("bfloat16", plain, "bf16"), ("int8", quantised, "f32")):
        settings = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": options.threads, "PERFORMANCE_HINT": "LATENCY"}
        try:
            compiled = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as cause:
            print(f"openvino {name}: {str(cause).splitlines()[0]}")
            continue
        for batch in options.batch:
            pixels = numpy.random.randn(batch, 3, side, side).astype("f4")
            seconds = best(lambda: compiled([pixels]), 3)
            row(f"openvino {name} {options.model} batch {batch}", batch / seconds, "images/s")


def pair(options):
    """The whole model on (text, picture) pairs through the ITM head, as its users run it."""
    import torch
    from transformers import BridgeTowerForImageAndTextRetrieval

    torch.set_num_threads(options.threads)
    config = bridgetower_config(options.model)
    side = config.vision_config.image_size
    model = BridgeTowerForImageAndTextRetrieval(config).eval()
    ids = torch.randint(5, config.text_config.vocab_size, (options.pairs, 12))
    pixels = torch.randn(options.pairs, 3, side, side)
    with torch.inference_mode():
        seconds = best(lambda: model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels), 2)
    row(f"pytorch float32 {options.model} ITM, whole model, {options.pairs} pairs", options.pairs / seconds, "pairs/s")


def decode(options):
    """Open, upright, resize, crop, normalise with Pillow on one thread; JPEGs by its scaled decoding."""
    import numpy
    from PIL import Image, ImageOps

    files = [os.path.join(options.dir, name) for name in sorted(os.listdir(options.dir))]

    def one(path):
        picture = Image.open(path)
        picture.draft("RGB", (576, 576))
        picture = ImageOps.exif_transpose(picture).convert("RGB")
        scale = 288 / min(picture.size)
        picture = picture.resize([max(288, round(edge * scale)) for edge in picture.size], Image.BICUBIC)
        left, top = (picture.width - 288) // 2, (picture.height - 288) // 2
        return (numpy.asarray(picture.crop((left, top, left + 288, top + 288)), "f4") / 255 - 0.45) / 0.27

    seconds = best(lambda: [one(path) for path in files], 2)
    row("pillow, one thread, JPEG scaled decode", len(files) / seconds, "images/s")


def ann(options):
    """hnswlib, usearch and faiss on clustered vectors, which are left in x.npy and q.npy for our benchmark."""
    import faiss
    import hnswlib
    import numpy
    from usearch.index import Index

    random = numpy.random.default_rng(0)
    centers = random.normal(size=(2000, options.dim)).astype("f4")

    def points(count):
        at = centers[random.integers(0, 2000, count)] + 0.35 * random.normal(size=(count, options.dim)).astype("f4")
        return at / numpy.linalg.norm(at, axis=1, keepdims=True)

    x, q = points(options.n).astype("f4"), points(200).astype("f4")
    numpy.save(options.out + "/x.npy", x)
    numpy.save(options.out + "/q.npy", q)
    k = options.k
    truth = numpy.argsort(-(q @ x.T), 1)[:, :k]

    def recall(found):
        return numpy.mean([len(set(a) & set(b)) / k for a, b in zip(found, truth)])

    if "hnswlib" in options.libraries:
        start = time.perf_counter()
        graph = hnswlib.Index("ip", options.dim)
        graph.init_index(options.n, M=16, ef_construction=200)
        graph.set_num_threads(options.threads)
        graph.add_items(x)
        row("hnswlib M16 efc200 build", time.perf_counter() - start, "s")
        row("hnswlib M16 file", graph.index_file_size() / options.n, "bytes/vector")
        graph.set_num_threads(1)
        for ef in (32, 64, 128, 256):
            graph.set_ef(ef)
            start = time.perf_counter()
            found, _ = graph.knn_query(q, k)
            row(f"hnswlib ef {ef}", (time.perf_counter() - start) * 1e3 / len(q), "ms/query")
            row(f"hnswlib ef {ef} recall@{k}", recall(found), "")
    for kind in ("f32", "f16", "i8"):
        if f"usearch-{kind}" not in options.libraries:
            continue
        start = time.perf_counter()
        graph = Index(ndim=options.dim, metric="ip", dtype=kind, connectivity=16, expansion_add=200, expansion_search=64)
        graph.add(numpy.arange(options.n), x, threads=options.threads)
        row(f"usearch {kind} build", time.perf_counter() - start, "s")
        row(f"usearch {kind} file", graph.serialized_length / options.n, "bytes/vector")
        start = time.perf_counter()
        found = graph.search(q, k, threads=1)
        row(f"usearch {kind} ef 64", (time.perf_counter() - start) * 1e3 / len(q), "ms/query")
        row(f"usearch {kind} ef 64 recall@{k}", recall(found.keys), "")
    if "faiss" not in options.libraries:
        return
    faiss.omp_set_num_threads(options.threads)
    flat = faiss.IndexFlatIP(options.dim)
    flat.add(x)
    seconds = best(lambda: [flat.search(one[None], k) for one in q[:50]], 2)
    row("faiss exact f32, one query at a time", seconds * 1e3 / 50, "ms/query")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("vision", "pair", "decode", "ann"):
        command = commands.add_parser(name)
        command.add_argument("--threads", type=int, default=os.cpu_count())
        command.add_argument("--out", default=".", help="folder for models and vectors that are made on the way")
        if name in ("vision", "pair"):
            command.add_argument("--model", default="base", choices=["base", "large"])
            command.add_argument("--batch", type=int, nargs="+", default=[1, 8])
            command.add_argument("--pairs", type=int, default=8)
        elif name == "decode":
            command.add_argument("dir")
        else:
            command.add_argument("--n", type=int, default=100_000)
            command.add_argument("--dim", type=int, default=512)
            command.add_argument("--k", type=int, default=10)
            names = ["hnswlib", "usearch-f32", "usearch-f16", "usearch-i8", "faiss"]
            command.add_argument("--libraries", nargs="*", default=names, choices=names)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    globals()[options.command](options)


if __name__ == "__main__":
    main()
