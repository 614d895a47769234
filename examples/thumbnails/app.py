"""Makes a thumbnail of every photo that an S3 event names.

A photo is read from PHOTOS_DIR and its thumbnail, at most 128 by 128 pixels, is written to THUMBNAILS_DIR under the same
key. Running it again for the same photo gives the same file. A photo that is damaged raises: the event is then
retried, and is a dead letter after that.
"""

import os
import tempfile
from pathlib import Path
from urllib.parse import unquote_plus

from PIL import Image, ImageOps

SIZE = (128, 128)


def handler(event, context):
    return {"thumbnails": [thumbnail(key_of(record)) for record in event["Records"]]}


def key_of(record):
    """The object's key. In S3 events keys are encoded like form fields."""
    return unquote_plus(record["s3"]["object"]["key"])


def thumbnail(key):
    """Make the thumbnail of one photo; what it became."""
    source = inside(os.environ["PHOTOS_DIR"], key)
    target = inside(os.environ["THUMBNAILS_DIR"], key)
    with Image.open(source) as photo:
        kind = photo.format
        # Pillow reads the pixels here, and raises OSError when the file ends too early.
        small = ImageOps.exif_transpose(photo)
        small.thumbnail(SIZE)
    if kind == "JPEG" and small.mode not in ("L", "RGB"):
        small = small.convert("RGB")
    write(small, target, kind)
    width, height = small.size
    print(f"{key}: {photo.width}x{photo.height} -> {width}x{height}")
    return {"key": key, "width": width, "height": height}


def inside(directory, key):
    """The path of a key, which must not lead out of the directory."""
    root = Path(directory).resolve()
    path = (root / key).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"the key {key!r} leads out of {directory}")
    return path


def write(image, target, kind):
    """Write the file beside its place and then move it there, so that nobody ever sees half of one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            image.save(file, kind)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise
