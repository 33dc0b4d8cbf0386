"""From a loaded checkpoint to a verified file and its report."""

from ssn_prune.conversion.converting import convert, dry_run
from ssn_prune.conversion.options import ConvertOptions
from ssn_prune.conversion.verifying import verify_file

__all__ = ["ConvertOptions", "convert", "dry_run", "verify_file"]
