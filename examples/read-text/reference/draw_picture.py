"""Draws picture.png: a mine's notice boards, set in DejaVu Sans (a libre font). Needs Pillow 13 and the fonts' folder as argument."""

import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 640, 480


def font(name, size):
    return ImageFont.truetype(str(Path(sys.argv[1]) / f"{name}.ttf"), size)


def rock():
    """A dark wall with light from above."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            light = 70 - 45 * y / HEIGHT + 14 * math.sin(x / 47 + 2 * math.sin(y / 61))
            picture.putpixel((x, y), (int(light * 1.05), int(light * 0.95), int(light * 0.85)))
    return picture


def board(picture, lines, centre, angle, background, ink, padding=14):
    """A board with lines of (text, font), turned by some degrees around its centre."""
    sizes = [face.getbbox(text) for text, face in lines]
    width = max(right for _, _, right, _ in sizes) + 2 * padding
    height = sum(bottom + 10 for _, _, _, bottom in sizes) + 2 * padding - 10
    sign = Image.new("RGBA", (width, height), background + (255,))
    draw = ImageDraw.Draw(sign)
    draw.rectangle((3, 3, width - 4, height - 4), outline=ink, width=2)
    y = padding
    for (text, face), (_, _, right, bottom) in zip(lines, sizes):
        draw.text(((width - right) / 2, y), text, font=face, fill=ink)
        y += bottom + 10
    # A clear border, so that turning leaves smooth edges.
    framed = Image.new("RGBA", (width + 4, height + 4), background + (0,))
    framed.paste(sign, (2, 2))
    sign = framed.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    picture.paste(sign, (centre[0] - sign.width // 2, centre[1] - sign.height // 2), sign)


def main():
    picture = rock()
    bold, plain, mono = "DejaVuSans-Bold", "DejaVuSans", "DejaVuSansMono"
    cream, black, yellow, red, white, green = (236, 226, 200), (30, 26, 22), (240, 190, 40), (168, 36, 30), (250, 250, 250), (24, 92, 62)
    board(picture, [("WINZE", font(bold, 52)), ("from level to level", font(mono, 22))], (215, 92), 0, cream, black)
    board(picture, [("DANGER", font(bold, 34)), ("Open shaft", font(bold, 24))], (520, 120), -8, red, white)
    board(picture, [("Level 3", font(bold, 30)), ("depth 128 m", font(plain, 24))], (505, 285), 6, green, white)
    board(picture, [("import graph kernels", font(mono, 22)), ("linalg vector llvm", font(mono, 22))], (190, 270), 3, cream, black)
    board(picture, [("One lamp each. No Python", font(plain, 24)), ("below this point!", font(plain, 24))], (320, 405), -2, yellow, black)
    picture.filter(ImageFilter.GaussianBlur(0.4)).save(Path(__file__).parent.parent / "picture.png", optimize=True)


main()
