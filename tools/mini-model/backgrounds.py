"""Backgrounds: colours, textures, noise, and fourteen drawn scenes."""
import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (214, 32, 38), "orange": (245, 130, 24), "yellow": (250, 214, 40), "green": (48, 160, 60),
    "blue": (36, 92, 214), "purple": (130, 50, 170), "pink": (246, 130, 180), "brown": (125, 78, 42),
    "black": (28, 28, 30), "white": (245, 245, 245), "grey": (135, 137, 140),
}
# name -> how captions say it, the plainest first
BACKGROUNDS = {
    "sky": ["in the sky", "in front of a blue sky", "against the sky", "high in the clouds"],
    "grass": ["on the grass", "in a field", "in a meadow", "on a lawn", "in the park", "on a green field"],
    "beach": ["on the beach", "at the beach", "on the sand by the sea", "at the seaside", "on a sandy beach"],
    "snow": ["in the snow", "on the snow", "in winter", "in a snowy landscape"],
    "underwater": ["under water", "underwater", "in the sea", "in the ocean", "deep in the sea"],
    "room": ["in a room", "indoors", "in the living room", "at home", "inside a house"],
    "desert": ["in the desert", "among sand dunes", "on the desert sand"],
    "mountains": ["in the mountains", "with mountains in the background", "in front of the mountains"],
    "forest": ["in the forest", "in the woods", "among the trees", "in a forest"],
    "city": ["in the city", "on the street", "in town", "on a city street", "on the road"],
    "sunset": ["at sunset", "at dusk", "in the evening", "with a sunset in the background"],
    "night": ["at night", "under the stars", "in the night sky", "in the dark", "on a starry night"],
    "space": ["in space", "in outer space", "among the stars and planets"],
    "lake": ["on the water", "on a lake", "floating on the water", "on the sea"],
}
TEXTURES = {
    "stripes": ["on a striped background", "with stripes behind"], "dots": ["on a dotted background", "on polka dots"],
    "checker": ["on a checkered background", "on a chequered pattern"],
}
CAN_BE_NIGHT = ["beach", "grass", "snow", "city", "mountains", "desert", "forest", "lake"]
GROUNDS = {
    "grass": (90, 170, 60), "beach": (236, 212, 150), "snow": (240, 245, 252), "desert": (224, 170, 90),
    "mountains": (100, 150, 80), "forest": (60, 110, 50), "city": (110, 110, 115), "sunset": (90, 60, 60),
    "lake": (50, 120, 190), "night": (20, 26, 40),
}
BANK = 152    # training pictures cut their scene out of one of 40 a kind, which saves most of the drawing
BANKED = 40
_bank = {}


def mixed(a, b, t):
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b))


def near(c, r, by=18):
    return tuple(max(0, min(255, x + r.randint(-by, by))) for x in c)


def gradient(w, h, stops):
    """Colours from top to bottom, [(height, colour)]."""
    y = np.linspace(0, 1, h)
    rows = np.stack([np.interp(y, [s[0] for s in stops], [s[1][k] for s in stops]) for k in range(3)], -1)
    return np.repeat(rows[:, None, :], w, 1)


def picture(a):
    return Image.fromarray(np.asarray(a).clip(0, 255).astype(np.uint8))


def ground_and_sky(name, night, w, h, horizon, r):
    sky = [(0, near((80, 160, 235), r)), (horizon, near((190, 225, 250), r, 10))]
    if name == "sunset":
        sky = [(0, near((90, 60, 120), r)), (horizon * .6, near((240, 120, 70), r)), (horizon, near((255, 200, 90), r))]
    if night or name == "night":
        sky = [(0, near((8, 10, 40), r, 8)), (horizon, near((30, 40, 90), r, 10))]
    if name == "sky":
        return gradient(w, h, [(0, near((70, 150, 235), r)), (1, near((175, 215, 250), r))])
    if name == "underwater":
        return gradient(w, h, [(0, near((60, 180, 220), r)), (1, near((8, 50, 120), r))])
    if name == "space":
        return gradient(w, h, [(0, near((10, 6, 30), r, 6)), (1, near((45, 15, 70), r, 10))])
    if name == "room":
        wall = r.choice([(240, 228, 205), (205, 220, 228), (225, 205, 215), (210, 222, 200), (235, 235, 232)])
        a = gradient(w, h, [(0, near(wall, r, 8)), (1, near(wall, r, 8))])
        floor = near(r.choice([(165, 115, 70), (140, 95, 60), (190, 150, 105), (150, 150, 155)]), r, 10)
        y = int(h * r.uniform(.66, .8))
        a[y:] = floor
        a[y - max(2, h // 45):y] = (250, 250, 248)
        return a
    ground = GROUNDS[name]
    top = near(ground, r)
    return gradient(w, h, sky + [(min(.999, horizon + .002), top), (1, near(tuple(int(x * .85) for x in ground), r, 8))])


def clouds(d, name, w, h, horizon, r):
    for _ in range(r.randint(1, 5)):
        x = r.randint(0, w)
        y = r.randint(0, int(h * (.95 if name == "sky" else horizon * .6)))
        s = r.uniform(.05, .13) * w
        for k in range(4):
            d.ellipse([x + k * s * .7 - s, y - s * .55 * r.uniform(.7, 1.2), x + k * s * .7 + s * .6, y + s * .5],
                      fill=(250, 252, 255))


def stars(d, name, w, h, y0, r):
    for _ in range(r.randint(25, 60)):
        x, y = r.randint(0, w), r.randint(0, h if name == "space" else max(1, y0))
        q = r.choice([0, 0, 1]) * w / 128 + w / 300
        d.ellipse([x - q, y - q, x + q, y + q], fill=(255, 255, r.randint(180, 255)))


def beach(d, night, w, h, y0, r):
    sea = int(h * r.uniform(.08, .16))
    d.rectangle([0, y0 - sea, w, y0], fill=near((40, 130, 190) if not night else (20, 50, 100), r))
    d.line([0, y0, w, y0], fill=(245, 250, 250), width=max(1, w // 64))


def mountains(d, w, y0, r):
    for _ in range(r.randint(2, 4)):
        x, q = r.randint(0, w), r.uniform(.25, .5) * w
        top = y0 - q * r.uniform(.6, 1)
        d.polygon([(x - q, y0), (x, top), (x + q, y0)], fill=near((120, 125, 140), r))
        snow = top + (y0 - top) * .25
        d.polygon([(x - q * .25, snow), (x, top), (x + q * .25, snow)], fill=(245, 248, 252))


def forest(d, w, h, y0, r):
    for _ in range(r.randint(7, 13)):
        x, q = r.randint(-5, w + 5), r.uniform(.07, .13) * w
        foot = y0 + r.randint(-2, int(h * .08))
        top = foot - q * r.uniform(3, 5)
        d.rectangle([x - q * .15, foot - q, x + q * .15, foot], fill=(90, 60, 35))
        d.polygon([(x - q, foot - q * .6), (x, top), (x + q, foot - q * .6)], fill=near((30, 100, 45), r))


def city(d, w, h, y0, r):
    x = 0
    while x < w:
        wide, top = r.randint(w // 9, w // 5), int(y0 * r.uniform(.15, .7))
        wall = near(r.choice([(150, 120, 110), (120, 130, 150), (170, 160, 145)]), r)
        d.rectangle([x, top, x + wide, y0], fill=wall)
        for y in range(top + 4, y0 - 4, max(5, h // 14)):
            for wx in range(x + 3, x + wide - 3, max(5, w // 16)):
                lit = (250, 230, 140) if r.random() < .5 else (70, 80, 100)
                d.rectangle([wx, y, wx + w // 40, y + h // 32], fill=lit)
        x += wide + r.randint(0, 3)
    for k in range(5):
        d.rectangle([w * (k * .24 - .05), int(h * .9), w * (k * .24 + .07), int(h * .92)], fill=(240, 240, 220))


def details(im, name, night, w, h, horizon, r):
    d = ImageDraw.Draw(im)
    y0 = int(h * horizon)
    if name == "sky" or name in ("grass", "beach", "mountains", "lake") and not night:
        clouds(d, name, w, h, horizon, r)
    if night or name in ("night", "space"):
        stars(d, name, w, h, y0, r)
    if name == "night" and r.random() < .6:
        x, y, q = r.randint(0, w), r.randint(0, y0 // 2 + 1), w * .06
        d.ellipse([x - q, y - q, x + q, y + q], fill=(250, 245, 210))
    if name == "beach":
        beach(d, night, w, h, y0, r)
    if name == "mountains":
        mountains(d, w, y0, r)
    if name == "forest":
        forest(d, w, h, y0, r)
    if name == "city":
        city(d, w, h, y0, r)
    if name == "desert":
        for _ in range(2):
            x, q = r.randint(0, w), r.uniform(.4, .8) * w
            d.ellipse([x - q, y0 - q * .18, x + q, y0 + q * .3], fill=near((230, 180, 100), r))
    if name == "grass":
        for _ in range(60):
            x, y = r.randint(0, w), r.randint(y0, h)
            d.line([x, y, x + r.randint(-2, 2), y - h // 40], fill=near((60, 140, 45), r), width=1)
    if name == "snow" and r.random() < .8:
        for _ in range(60):
            x, y, q = r.randint(0, w), r.randint(0, h), w / 128 * r.uniform(.5, 1.4)
            d.ellipse([x - q, y - q, x + q, y + q], fill=(255, 255, 255))
    if name == "underwater":
        for _ in range(r.randint(4, 14)):
            x, y, q = r.randint(0, w), r.randint(0, h), w / 128 * r.uniform(1, 3.5)
            d.ellipse([x - q, y - q, x + q, y + q], outline=(200, 235, 250))
        if r.random() < .6:
            d.ellipse([-w * .2, h * .9, w * 1.2, h * 1.3], fill=near((210, 190, 130), r))
    if name == "sunset" and r.random() < .8:
        x, q = r.randint(w // 5, w * 4 // 5), w * r.uniform(.07, .12)
        d.pieslice([x - q, y0 - q, x + q, y0 + q], 180, 360, fill=(255, 225, 120))
    if name == "lake":
        for _ in range(25):
            x, y = r.randint(0, w), r.randint(y0, h)
            d.line([x, y, x + w // 12, y], fill=near((120, 180, 225), r), width=1)
    if name == "room" and r.random() < .6:
        x, y, q = r.randint(0, w), r.randint(h // 12, h // 3), w * .11
        d.rectangle([x - q, y - q * .8, x + q, y + q * .8], fill=near((170, 210, 240), r), outline=(250, 250, 250),
                    width=max(2, w // 50))


def scene(name, night, w, h, r):
    horizon = r.uniform(.45, .68)
    im = picture(ground_and_sky(name, night, w, h, horizon, r))
    details(im, name, night, w, h, horizon, r)
    if night and name != "night":  # darker, and stars that stay bright
        im = picture(np.asarray(im) * np.array([.5, .55, .75]))
        d = ImageDraw.Draw(im)
        for _ in range(30):
            x, y = r.randint(0, w), r.randint(0, max(1, int(h * horizon * .8)))
            d.point([(x, y), (x + 1, y)], fill=(255, 255, 220))
    return im


def texture(name, w, h, r):
    one = near(r.choice(list(COLOURS.values())), r)
    other = near(r.choice([(250, 250, 250), (235, 225, 205), (60, 60, 70), (200, 220, 240)]), r)
    y, x = np.mgrid[0:h, 0:w]
    p = r.choice([10, 14, 20, 28]) * w // 128
    if name == "stripes":
        on = ((x, y, x + y, x - y)[r.randrange(4)] // p) % 2 == 1
    elif name == "checker":
        on = (x // p + y // p) % 2 == 1
    else:
        on = ((x % p - p / 2) ** 2 + (y % p - p / 2) ** 2) < (p * .3) ** 2
    return picture(np.where(on[..., None], np.array(one), np.array(other)))


def draw(background, w, h, r, bank=True):
    """The background of a spec; `bank` False draws a scene of its own at full size."""
    kind, which, night = background
    if kind == "plain":
        return Image.new("RGB", (w, h), near(COLOURS[which], r, 12))
    if kind == "gradient":
        top = mixed(COLOURS[which], (255, 255, 255), r.uniform(0, .35))
        im = picture(gradient(w, h, [(0, top), (1, mixed(COLOURS[which], (0, 0, 0), r.uniform(0, .3)))]))
        return im.rotate(r.choice([0, 90, 180, 270])) if w == h else im
    if kind == "texture":
        return texture(which, w, h, r)
    if kind == "noise":
        base = np.array(r.choice(list(COLOURS.values())), float)
        spots = np.random.RandomState(r.randrange(1 << 30)).rand(8, 8, 3) * 120 - 60 + base
        return picture(spots).resize((w, h), Image.BICUBIC)
    if not bank:
        return scene(which, night, w, h, r)
    kept = _bank.setdefault((which, night), [])
    if len(kept) < BANKED:
        kept.append(scene(which, night, BANK, BANK, r))
        im = kept[-1]
    else:
        im = kept[r.randrange(len(kept))]
    x, y = r.randint(0, BANK - w), r.randint(0, BANK - h)
    im = im.crop((x, y, x + w, y + h))
    return im.transpose(Image.FLIP_LEFT_RIGHT) if r.random() < .5 else im
