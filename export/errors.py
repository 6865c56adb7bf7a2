"""The one error of an export that can't keep what it promises."""


class ExportError(RuntimeError):
    """An artifact does not keep its contract, or could not be made; nothing was written."""
