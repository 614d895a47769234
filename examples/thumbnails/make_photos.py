"""Makes photos to try the example with: real JPEG and PNG files of different sizes, and a JPEG that ends too early.

Usage: python make_photos.py DIRECTORY [--count N] [--repair]
"""

import argparse
import io
import os
from pathlib import Path

from PIL import Image, ImageDraw

SIZES = [(1600, 1200), (640, 480), (300, 900), (96, 64), (2000, 500)]
BROKEN = "broken.jpg"


def make(folder, count):
    """Drop so many photos and the broken one."""
    for number in range(count):
        suffix, kind = (".png", "PNG") if number % 3 == 2 else (".jpg", "JPEG")
        drop(folder / f"photo-{number:03d}{suffix}", encoded(picture(number), kind))
    whole = encoded(picture(0), "JPEG")
    drop(folder / BROKEN, whole[: len(whole) // 2])
    print(f"{count} photos and {BROKEN} are in {folder}")


def repair(folder):
    """Put a whole photo in the place of the broken one."""
    drop(folder / BROKEN, encoded(picture(0), "JPEG"))
    print(f"{folder / BROKEN} is whole")


def picture(number):
    """A picture with a gradient and a circle, different for each number."""
    width, height = SIZES[number % len(SIZES)]
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    hue = (number * 47) % 256
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    ImageDraw.Draw(image).ellipse(box, fill=(hue, 255 - hue, 128))
    return image


def encoded(image, kind):
    """The bytes of the file."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def drop(path, data):
    """Move a finished file into the bucket: what watches it sees it whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--repair", action="store_true", help="replace the broken photo by a whole one")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True, exist_ok=True)
    if arguments.repair:
        repair(arguments.directory)
    else:
        make(arguments.directory, arguments.count)


if __name__ == "__main__":
    main()
