"""SVG: the strip alone, as a picture."""

from __future__ import annotations

from ssn_prune.reporting.charts.strip import whole
from ssn_prune.reporting.run import Run
from ssn_prune.reporting.view.page import page_of

_STYLE = """\
.I{fill:#0072b2}.L{fill:#e69f00}.B{fill:#009e73}\
text{font:700 11px system-ui,sans-serif;text-anchor:middle}\
text.I{fill:#fff}text.L,text.B{fill:#1b1b1b}\
rect.hollow{fill:none;stroke-width:1.4}\
rect.I.hollow{stroke:#0072b2}rect.L.hollow{stroke:#e69f00}rect.B.hollow{stroke:#009e73}\
text.I.hollow{fill:#0069a4}text.L.hollow{fill:#8a5d00}text.B.hollow{fill:#00704f}\
.hatch{stroke:#fff;stroke-width:1.5;opacity:.75;fill:none}\
text.label{font-weight:400;font-size:12px;text-anchor:start;fill:#5c5c5c}\
@media(prefers-color-scheme:dark){text.label{fill:#a8a8a8}\
text.I.hollow{fill:#6cb6e4}text.L.hollow{fill:#e9b03a}text.B.hollow{fill:#3ecaa1}}"""


def svg(run: Run) -> str:
    """The layers of a run in the order of their calls: the mean above the variance."""
    page = page_of(run)
    return f"{whole(page.choice.stages, _STYLE, f'{page.title}: {page.choice.finding}')}\n"
