"""Owns the errors of the rasterizer: each says what was found, what was expected, and what can be done."""


class RasterizerError(Exception):
    """Base of every error this package raises on purpose: a wrong shape, a wrong dtype, a value out of range."""


class Unsupported(RasterizerError):
    """The chosen backend cannot do what was asked.

    Args:
        what: The argument or feature, as the caller wrote it.
        backend: The backend that lacks it; None when no backend has it.
        remedy: What to do instead.
    """

    def __init__(self, what: str, *, backend: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.backend = backend
        line = f"no backend supports {what}" if backend is None else f"backend '{backend}' does not support {what}"
        super().__init__(line if remedy is None else f"{line}; {remedy}")


class BackendUnavailable(RasterizerError):
    """A backend that was asked for by name cannot run here.

    Args:
        name: The backend.
        reason: Why not, in one line.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"backend '{name}' cannot run here: {reason}")
