"""The browser of the tests that read a page as a person does."""

import shutil
from typing import Final

import pytest

#: The program, or None if no Chromium is installed.
CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: Skips a test where no Chromium is installed.
NEEDS_CHROMIUM: Final = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")
