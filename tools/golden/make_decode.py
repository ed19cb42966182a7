#!/usr/bin/env python3
"""Writes small pictures in every format and form, and what Pillow makes of them.

usage: make_decode.py OUT        (OUT is tests/golden: writes OUT/decode)

files/*           the pictures, in the forms that files have
expected/*.png    upright (ImageOps.exif_transpose), then convert('RGB'); one for each distinct result
expected.json     one row a file: file, expected, most and mean (how far levels may differ), width, height
metadata/*        pictures with EXIF, XMP and IPTC; what they say stands in the test that reads them

Pillow does not read JPEG XL: there imagecodecs does.

The exact forms must come out level for level; lossy ones within what two correct decoders differ by.
"""
import hashlib
import io
import json
import os
import struct
import sys
import zlib

import imagecodecs
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

EXACT = (0, 0.0)
LOSSY = (8, 0.6)      # rounding of the inverse transform, of chroma upsampling and of colour
W, H = 53, 37


def scene(width=W, height=H):
    """Smooth waves, and shapes without symmetry, so that every turn and flip shows."""
    y, x = np.mgrid[0:height, 0:width].astype('f4')
    a = np.stack([127 + 120 * np.sin(x / 9 + y / 23), 127 + 120 * np.cos(y / 7), 255 * x / width], -1)
    a[3:15, 4:9] = (255, 30, 20)
    a[20:24, 30:50] = (10, 240, 90)
    a[28:36, 2:7] = (20, 30, 250)
    return Image.fromarray(a.clip(0, 255).astype('u1'))


def grey16():
    y, x = np.mgrid[0:H, 0:W]
    return Image.fromarray((x * 7 + y * 3).astype('u2'))


def png_chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=b''):
    """A PNG of raw rows: Pillow does not write every form that it reads."""
    raw = b''.join(b'\0' + row for row in rows)
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0))
            + extra + png_chunk(b'IDAT', zlib.compress(raw, 9)) + png_chunk(b'IEND', b''))


def interlaced(im):
    """Adam7, 8-bit RGB."""
    a, raw = np.asarray(im), b''
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in a[y0::dy, x0::dx]:
            raw += b'\0' + row.tobytes()
    return (b'\x89PNG\r\n\x1a\n' + png_chunk(b'IHDR', struct.pack('>IIBBBBB', im.width, im.height, 8, 2, 0, 0, 1))
            + png_chunk(b'IDAT', zlib.compress(raw, 9)) + png_chunk(b'IEND', b''))


def jpeg_segments(data):
    """(marker, segment with marker and length) up to the first scan, then the rest."""
    at, out = 2, []
    while data[at + 1] != 0xda:
        length = struct.unpack('>H', data[at + 2:at + 4])[0]
        out.append((data[at + 1], data[at:at + 2 + length]))
        at += 2 + length
    return out, data[at:]


def ycck(im, quality=92):
    """A YCCK file as Photoshop writes it: the coded planes of a CMYK file that holds YCC and K, marked as YCCK."""
    cmyk = np.asarray(im.convert('RGB').convert('CMYK')).copy()
    cmyk[..., 3] = np.linspace(0, 90, im.width).astype('u1')[None, :]
    rgb = 255 - cmyk[..., :3].astype('i4')
    ycc = np.asarray(Image.fromarray(rgb.astype('u1')).convert('YCbCr'))
    planes = np.dstack([ycc, 255 - cmyk[..., 3]])
    # Pillow writes CMYK inverted, so it is given the inverse of what the file is to hold.
    buffer = io.BytesIO()
    Image.fromarray(255 - planes, 'CMYK').save(buffer, 'JPEG', quality=quality)
    segments, rest = jpeg_segments(buffer.getvalue())
    adobe = b'\xff\xee' + struct.pack('>H', 14) + b'Adobe' + struct.pack('>HHHB', 100, 0, 0, 2)
    return b'\xff\xd8' + adobe + b''.join(s for marker, s in segments if marker != 0xee) + rest


def without_adobe(data):
    segments, rest = jpeg_segments(data)
    return b'\xff\xd8' + b''.join(s for marker, s in segments if marker != 0xee) + rest


def saved(im, kind, **options):
    buffer = io.BytesIO()
    im.save(buffer, kind, **options)
    return buffer.getvalue()


def jxl_boxes(codestream, tiff):
    def box(kind, data):
        return struct.pack('>I', len(data) + 8) + kind + data
    if codestream[:2] != b'\xff\x0a':
        at = codestream.index(b'jxlc')
        codestream = codestream[at + 4:at - 4 + struct.unpack('>I', codestream[at - 4:at])[0]]
    return (box(b'JXL ', b'\r\n\x87\n') + box(b'ftyp', b'jxl \0\0\0\0jxl ') + box(b'Exif', bytes(4) + tiff)
            + box(b'jxlc', codestream))


def exif(orientation):
    ex = Image.Exif()
    ex[0x0112] = orientation
    return ex


def files():
    im = scene()
    alpha = im.copy()
    alpha.putalpha(Image.linear_gradient('L').resize(im.size))
    cmyk = im.convert('CMYK')
    grey = im.convert('L')
    palette = im.convert('P', palette=Image.ADAPTIVE, colors=32)
    for o in range(1, 9):
        yield f'orientation{o}.jpg', saved(im, 'JPEG', quality=95, subsampling=0, exif=exif(o)), LOSSY
    yield 'orientation6.png', saved(im, 'PNG', exif=exif(6)), EXACT
    yield 'orientation8.webp', saved(im, 'WEBP', lossless=True, exif=exif(8)), EXACT
    yield 'orientation5.tif', saved(im, 'TIFF', tiffinfo={0x0112: 5}), EXACT
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
    yield 'orientation3-xmp.jpg', saved(im, 'JPEG', quality=95, subsampling=0, xmp=xmp), LOSSY

    for name, options in (('420', dict(subsampling=2)), ('422', dict(subsampling=1)), ('444', dict(subsampling=0)),
                          ('progressive', dict(progressive=True)), ('progressive-420', dict(progressive=True, subsampling=2)),
                          ('restart', dict(restart_marker_blocks=3))):
        yield f'{name}.jpg', saved(im, 'JPEG', quality=90, **options), LOSSY
    yield 'grey.jpg', saved(grey, 'JPEG', quality=92), LOSSY
    yield 'rgb.jpg', saved(im, 'JPEG', quality=95, keep_rgb=True), LOSSY
    yield 'cmyk.jpg', saved(cmyk, 'JPEG', quality=95), LOSSY
    yield 'cmyk-no-adobe.jpg', without_adobe(saved(cmyk, 'JPEG', quality=95)), LOSSY
    yield 'cmyk-progressive.jpg', saved(cmyk, 'JPEG', quality=95, progressive=True), LOSSY
    yield 'ycck.jpg', ycck(im), LOSSY

    yield 'rgb.png', saved(im, 'PNG'), EXACT
    yield 'interlaced.png', interlaced(im), EXACT
    yield 'rgba.png', saved(alpha, 'PNG'), EXACT
    yield 'grey.png', saved(grey, 'PNG'), EXACT
    yield 'grey-alpha.png', saved(alpha.convert('LA'), 'PNG'), EXACT
    yield 'bilevel.png', saved(im.convert('1'), 'PNG'), EXACT
    yield 'palette.png', saved(palette, 'PNG'), EXACT
    yield 'palette-transparent.png', saved(palette, 'PNG', transparency=bytes(range(0, 256, 8))), EXACT
    yield 'palette4.png', saved(im.convert('P', palette=Image.ADAPTIVE, colors=4), 'PNG', bits=2), EXACT
    yield 'rgb-transparent.png', saved(im, 'PNG', transparency=(255, 30, 20)), EXACT
    yield 'grey2.png', png(7, 3, 2, 0, [bytes([0b00011011, 0b11100100])] * 3), EXACT
    yield 'grey16.png', saved(grey16(), 'PNG'), EXACT
    wide = np.asarray(im).astype('>u2') * 257 - 100 * (np.asarray(im) > 0)
    yield 'rgb16.png', png(W, H, 16, 2, [row.astype('>u2').tobytes() for row in wide]), EXACT
    four = np.dstack([wide, np.full((H, W), 30000)])
    yield 'rgba16.png', png(W, H, 16, 6, [row.astype('>u2').tobytes() for row in four]), EXACT
    two = np.dstack([wide[..., 1], np.full((H, W), 9)])
    yield 'grey-alpha16.png', png(W, H, 16, 4, [row.astype('>u2').tobytes() for row in two]), EXACT
    yield 'animated.png', saved(im, 'PNG', save_all=True, append_images=[ImageOps.invert(im)], duration=50), EXACT

    yield 'plain.gif', saved(palette, 'GIF'), EXACT
    yield 'interlaced.gif', saved(palette, 'GIF', interlace=1), EXACT
    yield 'transparent.gif', saved(palette, 'GIF', transparency=3), EXACT
    yield 'animated.gif', saved(palette, 'GIF', save_all=True, append_images=[ImageOps.invert(im).convert('P')]), EXACT
    # The first frame covers a part of the screen only: screen enlarged by hand.
    small = bytearray(saved(palette, 'GIF'))
    small[6:10] = struct.pack('<HH', W + 11, H + 5)
    yield 'partial.gif', bytes(small), EXACT

    yield 'lossy.webp', saved(im, 'WEBP', quality=90), LOSSY
    yield 'lossless.webp', saved(im, 'WEBP', lossless=True), EXACT
    yield 'alpha.webp', saved(alpha, 'WEBP', lossless=True, exact=True), EXACT
    yield 'animated.webp', saved(im, 'WEBP', lossless=True, save_all=True, append_images=[ImageOps.invert(im)]), EXACT
    # A first frame that is smaller than the canvas.
    frames = saved(im, 'WEBP', lossless=True, save_all=True, append_images=[ImageOps.invert(im)])
    at = frames.index(b'VP8X') + 12
    yield 'animated-small.webp', frames[:at] + struct.pack('<I', W + 9)[:3] + struct.pack('<I', H + 3)[:3] + frames[at + 6:], EXACT

    for name, options in (('none', {}), ('lzw', dict(compression='tiff_lzw')), ('deflate', dict(compression='tiff_adobe_deflate')),
                          ('packbits', dict(compression='packbits'))):
        yield f'{name}.tif', saved(im, 'TIFF', **options), EXACT
    yield 'jpeg.tif', saved(im, 'TIFF', compression='jpeg', quality=95), LOSSY
    yield 'rgba.tif', saved(alpha, 'TIFF'), EXACT
    yield 'grey.tif', saved(grey, 'TIFF'), EXACT
    yield 'grey-alpha.tif', saved(alpha.convert('LA'), 'TIFF'), EXACT
    yield 'grey16.tif', saved(grey16(), 'TIFF'), EXACT
    yield 'float.tif', saved(Image.fromarray(np.linspace(-20, 300, W * H, dtype='f4').reshape(H, W)), 'TIFF'), EXACT
    yield 'bilevel.tif', saved(im.convert('1'), 'TIFF'), EXACT
    yield 'group4.tif', saved(im.convert('1'), 'TIFF', compression='group4'), EXACT
    yield 'palette.tif', saved(palette, 'TIFF'), EXACT
    yield 'cmyk.tif', saved(cmyk, 'TIFF'), EXACT
    yield 'bigtiff.tif', saved(im, 'TIFF', big_tiff=True), EXACT

    yield 'rgb.bmp', saved(im, 'BMP'), EXACT
    yield 'palette.bmp', saved(palette, 'BMP'), EXACT
    yield 'bilevel.bmp', saved(im.convert('1'), 'BMP'), EXACT
    yield 'icon.ico', saved(alpha.resize((48, 48)), 'ICO', sizes=[(16, 16), (48, 48)]), EXACT
    yield 'rgb.tga', saved(im, 'TGA'), EXACT
    yield 'rle.tga', saved(alpha, 'TGA', compression='tga_rle'), EXACT
    yield 'grey.tga', saved(grey, 'TGA'), EXACT
    yield 'rgb.ppm', saved(im, 'PPM'), EXACT
    yield 'grey.pgm', saved(grey, 'PPM'), EXACT
    yield 'bilevel.pbm', saved(im.convert('1'), 'PPM'), EXACT
    yield 'rgb.qoi', saved(im, 'QOI'), EXACT

    pixels = np.asarray(im)
    yield 'lossless.jxl', imagecodecs.jpegxl_encode(pixels, lossless=True), EXACT
    yield 'lossy.jxl', imagecodecs.jpegxl_encode(pixels, distance=1.0), LOSSY
    yield 'grey.jxl', imagecodecs.jpegxl_encode(np.asarray(grey), lossless=True), EXACT
    yield 'alpha.jxl', imagecodecs.jpegxl_encode(np.asarray(alpha), lossless=True), EXACT
    # A decoder of JPEG XL turns by the codestream's own orientation; that of the EXIF box is not to be heeded.
    yield 'boxes.jxl', jxl_boxes(imagecodecs.jpegxl_encode(pixels, lossless=True), exif(6).tobytes()[6:]), EXACT


def metadata_files():
    im = scene()
    ex = Image.Exif()
    ex[0x010f], ex[0x0110] = 'NIKON CORPORATION', 'NIKON Z 6'
    ex[0x010e] = 'Harbour at dusk'
    ex[0x0132] = '2025:01:01 00:00:00'
    ex[0x9c9b] = 'Title\0'.encode('utf-16-le')
    ex[0x9c9e] = 'sea; ship;caf\u00e9\0'.encode('utf-16-le')
    sub = ex.get_ifd(0x8769)
    sub[0x9003] = '2024:05:17 18:30:05'
    sub[0xa434] = 'NIKKOR Z 24-70mm f/4 S'
    sub[0x9286] = b'UNICODE\0' + 'A gull'.encode('utf-16-le')
    gps = ex.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4] = 'S', (33.0, 51.0, 30.0), 'E', (151.0, 12.0, 36.0)
    exif_bytes = ex.tobytes()
    xmp = ('<?xpacket begin="" id=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
           '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
           '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
           '<rdf:li xml:lang="x-default">Ships &amp; gulls</rdf:li></rdf:Alt></dc:description>'
           '<dc:subject><rdf:Bag><rdf:li>harbour</rdf:li><rdf:li>Sea</rdf:li></rdf:Bag></dc:subject>'
           '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>').encode()
    yield 'all.webp', saved(im, 'WEBP', exif=exif_bytes, xmp=xmp)
    info = PngImagePlugin.PngInfo()
    info.add_itxt('XML:com.adobe.xmp', xmp.decode())
    info.add_text('Description', 'Seen from the pier')
    yield 'all.png', saved(im, 'PNG', exif=exif_bytes, pnginfo=info)
    inside = Image.Exif()
    inside.load(exif_bytes)
    inside[700] = xmp
    yield 'all.tif', saved(im, 'TIFF', exif=inside)

    def iim(number, text):
        return b'\x1c\x02' + bytes([number]) + struct.pack('>H', len(text)) + text
    iptc = iim(25, b'pier') + iim(25, b'harbour') + iim(105, b'Evening') + iim(120, 'Möwen'.encode('latin-1'))
    resources = b'8BIM\x03\xed\0\0\0\0\0\x03abc\0' + b'8BIM\x04\x04\x04name\0' + struct.pack('>I', len(iptc)) + iptc
    photoshop = b'Photoshop 3.0\0' + resources
    data = saved(im, 'JPEG', exif=exif_bytes, xmp=xmp)
    yield 'all.jpg', data[:2] + b'\xff\xed' + struct.pack('>H', len(photoshop) + 2) + photoshop + data[2:]


def main():
    out = sys.argv[1] + '/decode'
    for folder in ('files', 'expected', 'metadata'):
        os.makedirs(f'{out}/{folder}', exist_ok=True)
    rows = []
    for name, data, (most, mean) in files():
        with open(f'{out}/files/{name}', 'wb') as f:
            f.write(data)
        if name.endswith('.jxl'):
            image = Image.fromarray(imagecodecs.jpegxl_decode(data)).convert('RGB')
        else:
            image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert('RGB')
        expected = 'expected/' + hashlib.sha256(image.tobytes() + repr(image.size).encode()).hexdigest()[:12] + '.png'
        image.save(f'{out}/{expected}', optimize=True)
        rows.append(dict(file='files/' + name, expected=expected, most=most, mean=mean, width=image.width, height=image.height))
    with open(out + '/expected.json', 'w') as f:
        f.write('[\n' + ',\n'.join(json.dumps(row) for row in rows) + '\n]\n')
    for name, data in metadata_files():
        with open(f'{out}/metadata/{name}', 'wb') as f:
            f.write(data)
    print(f'{len(rows)} files in {out}')


if __name__ == '__main__':
    main()
