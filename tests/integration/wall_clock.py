"""A program's wall clock, set by a test while it runs: wall_clock.c, preloaded.

    clock = WallClock(program)      # before its start
    clock.jump(3600)                # an hour ahead of now; -3600: behind; 0: right
"""

import os
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


class WallClock:
    def __init__(self, program):
        folder = program.stack.folder
        library, self.file = os.path.join(folder, "wall_clock.so"), os.path.join(folder, program.name + ".clock")
        if not os.path.exists(library):
            subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "wall_clock.c")], check=True)
        self.jump(0)
        asan = os.environ.get("ASAN_OPTIONS", "")
        program.env = {**(program.env or {}), "LD_PRELOAD": library, "WALL_CLOCK": self.file,
                       "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0".lstrip(":")}

    def jump(self, seconds):
        """So far from the true time, from now on."""
        with open(self.file, "r+b" if os.path.exists(self.file) else "wb") as f:
            f.write(struct.pack("q", int(seconds * 1000)))
