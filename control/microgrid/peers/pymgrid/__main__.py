"""``python -m gwanje.control.microgrid.peers.pymgrid``."""

import sys

from gwanje.control.microgrid.peers.pymgrid.bench import main

sys.exit(main())
