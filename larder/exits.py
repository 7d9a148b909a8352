"""Exit codes, one for each kind of error."""

from __future__ import annotations

from feature_repo import errors

EXIT_CODES: dict[type[errors.LarderError], int] = {
    errors.LarderError: 1,
    errors.ConfigurationError: 2,
    errors.InputError: 3,
    errors.MediaError: 3,
    errors.NotFoundError: 4,
    errors.WeightsError: 5,
    errors.StateError: 6,
    errors.QualityGateError: 7,
    errors.UnavailableError: 8,
    errors.OverloadedError: 8,
    errors.DeadlineError: 8,
    errors.UnauthenticatedError: 9,
    errors.DeniedError: 9,
}
INTERRUPTED = 130


def exit_code(error: errors.LarderError) -> int:
    """The code of the error's class, or of the nearest one above it."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
