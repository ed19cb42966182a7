"""The art: concepts by name, each drawn in up to nine styles, with changed copies for training."""
import io
import json
import math
import os
import pickle
import random
import re
import zlib
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HERE = Path(__file__).resolve().parent
WORK = Path(os.environ.get("MINI_WORK", HERE / "work"))
NPM = Path(os.environ.get("MINI_NPM", HERE / "node_modules"))
SIDE = 128  # longest side of a sprite; also the side of a training picture

TRAIN_STYLES = ["noto", "noto-v1", "twemoji", "emojione", "fxemoji", "fluent-emoji", "fluent-emoji-flat", "fluent3d"]
HELD_STYLES = ["openmoji"]  # never trained on
STYLE_WEIGHTS = dict(zip(TRAIN_STYLES, [1.5, 1.0, 1.5, 1.0, 0.8, 1.0, 0.8, 1.2]))


def hash1000(*what):
    """The same number for the same things in every run: Python's own hash is not."""
    return zlib.crc32(repr(what).encode()) % 1000


def read_concepts():
    """concepts.txt, with the code points and keywords of each emoji."""
    by_label = {e["label"]: e for e in json.loads((NPM / "emojibase-data/en/data.json").read_text())}
    out = []
    for line in (HERE / "concepts.txt").read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        left, right = line.split("=", 1)
        names, kinds = right.split("@")
        emoji = [by_label[label.strip()] for label in left.split("+") if label.strip() in by_label]
        if emoji:
            out.append(dict(
                names=[n.strip() for n in names.split(",")], kinds=kinds.strip(),
                emoji=[(e["hexcode"], e["label"], e.get("tags", [])) for e in emoji],
            ))
    return out


def common(concepts):
    """Numbers of the concepts that are taught; the others only lend their words to the tokenizer."""
    names = set((HERE / "common.txt").read_text(encoding="utf-8").split("\n"))
    return {i for i, c in enumerate(concepts) if c["names"][0] in names}


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("’", "")).strip("-")


def rasterise(job, side=SIDE):
    """One emoji as RGBA, cut to what is drawn, its longest side `side` pixels; None if there is hardly anything."""
    key, kind, source = job
    try:
        if kind == "svg":
            import resvg_py
            whole = side * 5 // 4
            source = io.BytesIO(bytes(
                resvg_py.svg_to_bytes(svg_string=source, width=whole, height=whole, skip_system_fonts=True)))
        im = Image.open(source).convert("RGBA")
    except (OSError, ValueError, RuntimeError):
        return key, None
    drawn = np.asarray(im)[..., 3] > 8
    if drawn.sum() < 60:
        return key, None
    ys, xs = np.where(drawn.any(1))[0], np.where(drawn.any(0))[0]
    im = im.crop((xs[0], ys[0], xs[-1] + 1, ys[-1] + 1))
    k = side / max(im.size)
    im = im.resize((max(4, round(im.width * k)), max(4, round(im.height * k))), Image.LANCZOS)
    return key, np.asarray(im).copy()


def svg_of(icons, name):
    icon = icons["icons"].get(name)
    if icon is None and name in icons.get("aliases", {}):
        icon = icons["icons"].get(icons["aliases"][name]["parent"])
    if icon is None:
        return None
    w, h = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {w} {h}" width="{w}" height="{h}">{icon["body"]}</svg>')


def sprite_jobs(concepts):
    """What to rasterise: the icon sets disagree about names, so several are tried."""
    icons, chars = {}, {}
    for style in TRAIN_STYLES + HELD_STYLES:
        if style != "fluent3d":
            icons[style] = json.loads((NPM / f"@iconify-json/{style}/icons.json").read_text())
            chars[style] = json.loads((NPM / f"@iconify-json/{style}/chars.json").read_text())
    assets = NPM / "@lobehub/fluent-emoji-3d/assets"
    files = set(os.listdir(assets))
    for number, concept in enumerate(concepts):
        for hexcode, label, _ in concept["emoji"]:
            h = hexcode.lower()
            plain = h.replace("-fe0f", "")
            guesses = [chars[s].get(plain) for s in ("noto", "openmoji", "fluent-emoji-flat", "twemoji")] + [slug(label)]
            guesses += [g.replace("-", "") for g in guesses if g]
            for style in TRAIN_STYLES + HELD_STYLES:
                if style == "fluent3d":
                    found = next((f for f in (h, plain, plain + "-fe0f") if f + ".webp" in files), None)
                    if found:
                        yield (number, style), "file", assets / (found + ".webp")
                    continue
                for name in [chars[style].get(plain), chars[style].get(h)] + guesses:
                    svg = svg_of(icons[style], name) if name else None
                    if svg:
                        yield (number, style), "svg", svg
                        break


def add_drawn(concepts, sprites):
    """Concepts that no emoji shows, drawn here; the same in every style."""
    r = np.random.RandomState(5)

    def add(names, kinds, pictures):
        concepts.append(dict(names=names, kinds=kinds, emoji=[]))
        for style in TRAIN_STYLES + HELD_STYLES:
            sprites[(len(concepts) - 1, style)] = pictures

    add(["table", "desk", "wooden table"], "s", [table(i, r) for i in range(10)])
    add(["rug", "carpet"], "s", [rug(i) for i in range(8)])
    corners = [(128 + 124 * math.cos(math.pi / 3 * k), 128 + 124 * math.sin(math.pi / 3 * k)) for k in range(6)]
    add(["circle", "disc", "dot"], "ots", shape(lambda d, w: d.ellipse([2, 2, 253, 253], fill=w)))
    add(["square"], "ots", shape(lambda d, w: d.rectangle([4, 4, 251, 251], fill=w)))
    add(["triangle"], "ots", shape(lambda d, w: d.polygon([(128, 4), (252, 250), (4, 250)], fill=w)))
    add(["hexagon"], "ots", shape(lambda d, w: d.polygon(corners, fill=w)))


def table(i, r):
    w, h = 128, r.randint(60, 100)
    im = Image.new("RGBA", (w, h))
    d = ImageDraw.Draw(im)
    top = [(150, 96, 50), (190, 130, 70), (110, 66, 34), (205, 160, 105), (230, 225, 215)][i % 5] + (255,)
    legs = tuple(int(x * .75) for x in top[:3]) + (255,)
    thick, leg = r.randint(8, 15), r.randint(7, 13)
    inset = r.randint(2, 14)
    if i % 3 == 2:  # seen from above
        d.polygon([(14, 0), (w - 14, 0), (w, 22), (0, 22)], fill=top)
        d.rectangle([0, 22, w, 22 + thick // 2], fill=legs)
        y = 22
    else:
        d.rounded_rectangle([0, 0, w - 1, thick], 3, fill=top)
        y = thick
    d.rectangle([inset, y, inset + leg, h - 1], fill=legs)
    d.rectangle([w - inset - leg, y, w - inset, h - 1], fill=legs)
    return np.asarray(im).copy()


def rug(i):
    im = Image.new("RGBA", (128, 44))
    d = ImageDraw.Draw(im)
    c = [(170, 40, 50), (40, 80, 140), (60, 120, 80), (180, 140, 60)][i % 4]
    edge = tuple(min(255, x + 70) for x in c) + (255,)
    if i % 2:
        d.ellipse([0, 0, 127, 43], fill=c + (255,))
        d.ellipse([16, 7, 111, 36], outline=edge, width=3)
    else:
        d.polygon([(18, 0), (110, 0), (127, 43), (0, 43)], fill=c + (255,))
        d.polygon([(26, 6), (102, 6), (113, 37), (15, 37)], outline=edge)
    return np.asarray(im).copy()


def shape(draw):
    im = Image.new("RGBA", (256, 256))
    draw(ImageDraw.Draw(im), (235, 235, 235, 255))
    return [np.asarray(im.resize((SIDE, SIDE), Image.LANCZOS)).copy()]


# Changed copies, so that a style never seen is less of a surprise.


def outlined(a, r):
    """Flat colours and a dark line round the outside and along strong inner edges, as many drawings have."""
    im = Image.fromarray(a)
    alpha = im.getchannel("A")
    thick = r.choice([3, 5, 5, 7])
    rgb = Image.new("RGB", im.size, (255, 255, 255))
    rgb.paste(im, (0, 0), im)
    light = np.asarray(rgb.convert("L").filter(ImageFilter.GaussianBlur(1)), np.float32)
    gy, gx = np.gradient(light)
    edges = (np.hypot(gx, gy) > r.uniform(14, 26)) & (np.asarray(alpha) > 200)
    edges = np.asarray(Image.fromarray((edges * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(3)))
    flat = np.asarray(rgb.filter(ImageFilter.MedianFilter(5)), np.float32)
    levels = r.choice([32, 48, 64])
    flat = (flat / levels).round() * levels
    saturation = r.uniform(.9, 1.5)
    grey = flat.mean(-1, keepdims=True)
    flat = grey + (flat - grey) * saturation
    inner = np.asarray(alpha.filter(ImageFilter.MinFilter(thick)))
    line = np.maximum(edges, np.where(np.asarray(alpha) > 100, 255 - inner, 0)).astype(np.float32)[..., None] / 255
    ink = np.array(r.choice([(0, 0, 0), (0, 0, 0), (30, 25, 30), (60, 40, 20)]), np.float32)
    out = (flat * (1 - line) + ink * line).clip(0, 255).astype(np.uint8)
    return np.concatenate([out, a[..., 3:]], -1)


def recoloured(a, r):
    """Other hue, saturation and contrast."""
    hue, sat, val = [np.asarray(x, np.float32) for x in Image.fromarray(a).convert("RGB").convert("HSV").split()]
    hue = (hue + r.uniform(-22, 22)) % 256
    sat = (sat * r.uniform(.45, 1.4)).clip(0, 255)
    val = (((val / 255) ** r.uniform(.7, 1.5)) * 255 * r.uniform(.8, 1.1)).clip(0, 255)
    out = Image.merge("HSV", [Image.fromarray(x.astype(np.uint8)) for x in (hue, sat, val)]).convert("RGB")
    return np.concatenate([np.asarray(out), a[..., 3:]], -1)


def warped(a, r):
    """Sheared and of other proportions; what leans out of the frame is cut off."""
    im = Image.fromarray(a)
    w, h = im.size
    kx, ky, lean = r.uniform(.75, 1), r.uniform(.75, 1), r.uniform(-.25, .25)
    w2, h2 = int(w * kx + abs(lean) * h), int(h * ky)
    right = lean * h2 / kx if lean > 0 else 0
    im = im.transform((w2, h2), Image.AFFINE, (1 / kx, -lean / kx, right, 0, 1 / ky, 0), Image.BICUBIC)
    return np.asarray(im).copy()


def changed(job):
    key, a, seed = job
    r = random.Random(seed)
    out = [outlined(a, r), recoloured(a, r)]
    w = warped(a, r)
    if r.random() < .5:
        w = outlined(w, r) if r.random() < .5 else recoloured(w, r)
    return key, out + [w]


def make(processes=2):
    """Draws everything once and keeps it in WORK/art.pkl."""
    concepts, sprites = read_concepts(), {}
    with Pool(processes) as pool:
        for key, a in pool.imap(rasterise, list(sprite_jobs(concepts)), chunksize=32):
            if a is not None:
                sprites.setdefault(key, []).append(a)
    add_drawn(concepts, sprites)
    return keep(concepts, sprites, processes)


def keep(concepts, sprites, processes):
    """Adds the changed copies and writes WORK/art.pkl."""
    copies, taught = {}, common(concepts)
    drawn = {c["names"][0] for c in concepts if not c["emoji"]}
    jobs = [(key, a, hash1000(key, i)) for key, group in sprites.items() for i, a in enumerate(group)
            if key[0] in taught and key[1] in TRAIN_STYLES and concepts[key[0]]["names"][0] not in drawn]
    with Pool(processes) as pool:
        for key, group in pool.imap(changed, jobs, chunksize=16):
            copies.setdefault(key, []).extend(group)
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / "art.pkl.new", "wb") as f:
        pickle.dump((concepts, sprites, copies), f, protocol=4)
    os.replace(WORK / "art.pkl.new", WORK / "art.pkl")
    return concepts, sprites, copies


def pack(path):
    """The sprites of what is taught as lossless WebP in one file: for a machine without the packages of the art."""
    concepts, sprites, _ = load()
    taught, out = common(concepts), {}
    for key, group in sprites.items():
        if key[0] in taught:
            out[key] = []
            for a in group:
                b = io.BytesIO()
                Image.fromarray(a).save(b, "WEBP", lossless=True, quality=90, method=4)
                out[key].append(b.getvalue())
    with open(path, "wb") as f:
        pickle.dump((concepts, out), f, protocol=4)


def decoded(job):
    key, group = job
    return key, [np.asarray(Image.open(io.BytesIO(b)).convert("RGBA")).copy() for b in group]


def unpacked(path, processes):
    with open(path, "rb") as f:
        concepts, packed = pickle.load(f)
    with Pool(processes) as pool:
        sprites = dict(pool.imap(decoded, packed.items(), chunksize=16))
    return keep(concepts, sprites, processes)


def load(processes=2):
    """Concepts; sprites by (concept, style); changed copies by (concept, style)."""
    if (WORK / "art.pkl").exists():
        with open(WORK / "art.pkl", "rb") as f:
            return pickle.load(f)
    return unpacked(WORK / "art.pack", processes) if (WORK / "art.pack").exists() else make(processes)
