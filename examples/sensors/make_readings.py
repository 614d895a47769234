"""Print readings of ten sensors, a line each, for `fnrunner stream put --jsonl`. With --broken one of them is no reading."""

import argparse
import json
import math

SENSORS = [f"sensor-{number}" for number in range(10)]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--count", type=int, default=500)
parser.add_argument("--start", type=int, default=0, help="the time of the first reading")
parser.add_argument("--broken", action="store_true", help="the reading in the middle has a text for a temperature")
arguments = parser.parse_args()

for number in range(arguments.count):
    sensor = SENSORS[number % len(SENSORS)]
    at = arguments.start + number
    celsius = round(20 + 5 * math.sin(at / 50), 2)
    if arguments.broken and number == arguments.count // 2:
        celsius = "out of order"
    print(json.dumps({"key": sensor, "data": {"sensor": sensor, "at": at, "celsius": celsius}}))
