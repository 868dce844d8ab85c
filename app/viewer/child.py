"""Owns the process of a job: the command line, which an interrupt must reach whoever started the server."""

import signal

from app.cli import main

if __name__ == "__main__":
    # A server started in the background ignores interrupts, and so would its children: a job could not be paused.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
