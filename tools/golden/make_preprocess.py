#!/usr/bin/env python3
"""Writes pictures of awkward shapes and modes, and what transformers' BridgeTowerImageProcessorPil makes of them.

usage: make_preprocess.py OUT [--seed N]        (OUT is tests/golden: writes OUT/preprocess)

images/*          the pictures, in the forms that files have
levels/*.webp     what the processor gives, turned back into 8-bit levels (lossless, to be small)
expected.json     one row a picture and setting: file, levels, size, size_divisor, and a few pixel_values as they are
                  ([channel, row, column, value])

Pictures are turned upright by their EXIF orientation and made RGB by Pillow's convert('RGB') before the processor
sees them.
"""
import argparse
import json
import os

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from transformers.models.bridgetower.image_processing_pil_bridgetower import BridgeTowerImageProcessorPil

SIZES = dict(landscape=(640, 480), portrait=(361, 517), square=(288, 288), panorama=(1400, 260), tower=(190, 900),
             thumb=(90, 67), tiny=(9, 7), odd=(333, 331))
SETTINGS = ((288, 32), (294, 32), (294, 14), (128, 32))
ALL_SETTINGS = ('landscape.png', 'portrait.png', 'panorama.png', 'thumb.png')


def scene(width, height, rng):
    """Waves, a little noise and filled ellipses: smooth parts, texture and edges."""
    y, x = np.mgrid[0:height, 0:width].astype('f4')
    f, p = rng.uniform(.01, .2, 3), rng.uniform(0, 6, 3)
    waves = [127 + 100 * np.sin(f[i] * x + p[i]) * np.cos(f[(i + 1) % 3] * y) for i in range(3)]
    levels = np.stack(waves, -1) + rng.normal(0, 2, (height, width, 3))
    image = Image.fromarray(np.clip(levels, 0, 255).astype('u1'))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x0, y0 = rng.integers(0, width), rng.integers(0, height)
        draw.ellipse((x0, y0, x0 + width // 4 + 1, y0 + height // 4 + 1), fill=tuple(map(int, rng.integers(0, 255, 3))))
    return image


def write_images(folder, rng):
    os.makedirs(folder, exist_ok=True)
    for name, (w, h) in SIZES.items():
        scene(w, h, rng).save(f'{folder}/{name}.png')
        yield f'{name}.png'
    scene(500, 400, rng).save(f'{folder}/photo.jpg', quality=92)
    yield 'photo.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    scene(500, 400, rng).save(f'{folder}/exif6.jpg', quality=92, exif=exif)
    yield 'exif6.jpg'
    scene(300, 400, rng).convert('L').save(f'{folder}/gray.png')
    yield 'gray.png'
    image = scene(420, 300, rng)
    image.putalpha(Image.linear_gradient('L').resize(image.size))
    image.save(f'{folder}/alpha.png')
    yield 'alpha.png'
    scene(320, 300, rng).convert('P', palette=Image.ADAPTIVE).save(f'{folder}/palette.png')
    yield 'palette.png'
    scene(320, 300, rng).convert('1').save(f'{folder}/bilevel.png')
    yield 'bilevel.png'
    scene(400, 300, rng).save(f'{folder}/lossless.webp', lossless=True)
    yield 'lossless.webp'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    rng, out, rows = np.random.default_rng(args.seed), args.out + '/preprocess', []
    os.makedirs(out + '/levels', exist_ok=True)
    for name in list(write_images(out + '/images', rng)):
        image = ImageOps.exif_transpose(Image.open(f'{out}/images/{name}')).convert('RGB')
        for size, divisor in SETTINGS if name in ALL_SETTINGS else SETTINGS[:1]:
            processor = BridgeTowerImageProcessorPil(size=dict(shortest_edge=size), crop_size=dict(shortest_edge=size),
                                                     size_divisor=divisor, do_pad=False)
            values = np.asarray(processor(image, return_tensors='np')['pixel_values'][0], 'f4')
            mean, std = (np.array(v)[:, None, None] for v in (processor.image_mean, processor.image_std))
            exact = (values.astype('f8') * std + mean) * 255
            levels = exact.round()
            assert np.abs(exact - levels).max() < 1e-3
            file = f'levels/{name}-{size}-{divisor}.webp'
            Image.fromarray(levels.astype('u1').transpose(1, 2, 0)).save(f'{out}/{file}', lossless=True, quality=100)
            places = [(c, y, x) for c in range(3) for y, x in ((0, 0), (size // 2, size // 3), (size - 1, size - 1))]
            rows.append(dict(file='images/' + name, levels=file, size=size, size_divisor=divisor,
                             values=[[c, y, x, float(values[c, y, x])] for c, y, x in places]))
    with open(out + '/expected.json', 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(row) for row in rows) + '\n]\n')
    print(f'{len(rows)} rows in {out}')


if __name__ == '__main__':
    main()
