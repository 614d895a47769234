"""The application that ``celery -A`` imports."""

import os

from tests.bench.celery_peer import make_app
from tests.bench.subject import URL

app = make_app(os.environ[URL])
