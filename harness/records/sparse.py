"""Makes files sparse: blocks of zeros take no space on the disk, and the content stays the same.

A node's write-ahead log is grown in advance, by zeros. A run folder is only read after its run, so it need not hold them.
"""

import os
from pathlib import Path
from typing import Final

_BLOCK_BYTES: Final = 4096
_ZEROS: Final = bytes(_BLOCK_BYTES)


def make_sparse(path: Path) -> None:
    """Make a file sparse, if no process has it open. On a file system without sparse files nothing changes.

    Raises:
        OSError: the file cannot be read, or its copy cannot be written. The file is as it was.
    """
    copy = path.with_name(f"{path.name}.sparse")
    try:
        with path.open("rb") as file, copy.open("wb") as sparse:
            os.fchmod(sparse.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
            while block := file.read(_BLOCK_BYTES):
                if block == _ZEROS:
                    sparse.seek(_BLOCK_BYTES, os.SEEK_CUR)
                else:
                    sparse.write(block)
            sparse.truncate(file.tell())
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)
