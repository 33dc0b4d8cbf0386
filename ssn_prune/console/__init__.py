"""Terminal output: tables and messages for people, JSON for programs."""

from ssn_prune.console.accuracy import show_accuracy
from ssn_prune.console.batch import batch_line, batch_table, result_line
from ssn_prune.console.bench import bench_lines, bench_table, layer_cost_table
from ssn_prune.console.choice import show_selection
from ssn_prune.console.conversion import show_conversion
from ssn_prune.console.costs import costs_lines, costs_table
from ssn_prune.console.deployment import deployment_lines
from ssn_prune.console.history import history_table
from ssn_prune.console.output import Output
from ssn_prune.console.report import comparison_lines, comparison_table, verdict_lines
from ssn_prune.console.search import show_potential, show_search
from ssn_prune.console.selection import off_simplex_lines, unconverged_table
from ssn_prune.console.selections import selections_line, selections_tables
from ssn_prune.console.text import escape
from ssn_prune.console.totals import totals_table
from ssn_prune.console.verification import verification_lines

__all__ = [
    "Output",
    "batch_line",
    "batch_table",
    "bench_lines",
    "bench_table",
    "comparison_lines",
    "comparison_table",
    "costs_lines",
    "costs_table",
    "deployment_lines",
    "escape",
    "history_table",
    "layer_cost_table",
    "off_simplex_lines",
    "result_line",
    "selections_line",
    "selections_tables",
    "show_accuracy",
    "show_conversion",
    "show_potential",
    "show_search",
    "show_selection",
    "totals_table",
    "unconverged_table",
    "verdict_lines",
    "verification_lines",
]
