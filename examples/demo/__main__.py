"""The demo: python -m examples.demo, or with --spire on real SPIRE.

It ends by itself within a minute: with 0 if all went as told, with 1 if any step did not.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from examples.demo.service import DemoError
from examples.demo.show import Show
from examples.demo.stage import embedded
from examples.demo.story import Story
from serviceradar_security import SecurityError


def main() -> int:
    """Play the story on the chosen stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spire", action="store_true", help="on a real SPIRE server and agent")
    options = parser.parse_args()
    # A closed terminal or a cancelled job ends the services too, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    show = Show("real SPIRE on Postgres" if options.spire else "embedded Workload API")
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name)
        try:
            if options.spire:
                from examples.demo.spire import real_spire  # noqa: PLC0415 - needs built parts

                show.note("starting Postgres, a SPIRE server and an agent ...")
                with real_spire(folder) as stage:
                    Story(stage, folder, show).play()
            else:
                with embedded(folder) as stage:
                    Story(stage, folder, show).play()
        except (DemoError, SecurityError) as error:
            show.failed(str(error))
            return 1
        except KeyboardInterrupt:
            show.failed("interrupted")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
