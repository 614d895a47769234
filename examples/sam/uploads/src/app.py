"""Counts the words of the texts that an event names."""

import os
import pathlib
import urllib.parse

UNIT = "words"


def handler(event, context):
    for record in event["Records"]:
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        text = pathlib.Path(os.environ["TEXTS"], key).read_text()
        print(f"{key}: {len(text.split())} {UNIT}")
