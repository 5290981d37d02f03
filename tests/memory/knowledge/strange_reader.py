"""A program in place of the one that reads PDFs: it does what its document says."""

import json
import os
import sys

from tertulia.memory.knowledge.pdf_pages import confine

if __name__ == "__main__":
    confine(1)
    wish = sys.stdin.read()
    if wish == "fill the memory":
        bytearray(2**31)
    while wish == "never end":
        pass
    sys.stdout.write(json.dumps({"pages": [" ".join(os.environ)]}))
