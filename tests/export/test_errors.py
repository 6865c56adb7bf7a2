"""One error for whatever an export can't keep."""

from kerasft.export import errors

from kerasft import export


def test_it_is_public_and_a_runtime_error():
    assert export.ExportError is errors.ExportError and issubclass(export.ExportError, RuntimeError)
