"""`python -m reid_lib` is the command `reid`."""

import sys

from reid_lib.cli import main

sys.exit(main())
