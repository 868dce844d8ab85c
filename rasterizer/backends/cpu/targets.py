"""The machines the CPU library is built for: their names, file endings and instruction sets."""

import platform
import sys
from dataclasses import dataclass

_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}
_SYSTEMS = {"linux": "linux", "win32": "windows", "cygwin": "windows", "darwin": "macos"}
_PREFIX_AND_ENDING = {"windows": ("", ".dll"), "macos": ("lib", ".dylib")}
_X86_VARIANTS = (("isa_baseline", "x86-64"), ("isa_v3", "x86-64-v3"), ("isa_v4", "x86-64-v4"))
_ZIG_TRIPLES = {
    "linux": "{machine}-linux-{libc}",
    "windows": "{machine}-windows-gnu",
    "macos": "{machine}-macos.11.0-none",
}


@dataclass(frozen=True, slots=True)
class Variant:
    """One instruction set the kernels are compiled for."""

    namespace: str
    """C++ namespace of this copy, the value of SCENE3D_ISA_NS."""

    march: str | None
    """Argument of -march; None leaves the compiler's own baseline."""


@dataclass(frozen=True, slots=True)
class Target:
    """Operating system and processor family of a library."""

    system: str
    machine: str
    libc: str = ""
    """On Linux, gnu or musl, with the oldest accepted version where that matters ("gnu.2.28")."""

    @property
    def library_name(self) -> str:
        prefix, ending = _PREFIX_AND_ENDING.get(self.system, ("lib", ".so"))
        return f"{prefix}scene3d_cpu-{self.system}-{self.machine}{ending}"

    @property
    def variants(self) -> tuple[Variant, ...]:
        """From the lowest instruction set to the highest; the order in which objects are linked."""
        if self.machine == "x86_64":
            return tuple(Variant(namespace, march) for namespace, march in _X86_VARIANTS)
        return (Variant("isa_baseline", None),)

    @property
    def zig_triple(self) -> str:
        machine = {"arm64": "aarch64"}.get(self.machine, self.machine)
        return _ZIG_TRIPLES.get(self.system, "{machine}-" + self.system).format(
            machine=machine, libc=self.libc or "gnu"
        )


def host_target() -> Target:
    """Return the target of the running interpreter."""
    system = _SYSTEMS.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    libc = ""
    if system == "linux":
        libc = "gnu" if platform.libc_ver()[0] == "glibc" else "musl"
    return Target(system, _MACHINES.get(machine, machine), libc)
