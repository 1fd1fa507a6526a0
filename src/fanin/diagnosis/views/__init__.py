"""How an audit looks: text for a terminal, JSON, SARIF, and an HTML page."""

from fanin.diagnosis.views.audit_page import render_page
from fanin.diagnosis.views.audit_text import format_audit, format_finding, list_lines
from fanin.diagnosis.views.conclusion import conclude, count_findings
from fanin.diagnosis.views.plain_records import make_finite, to_record
from fanin.diagnosis.views.sarif_log import to_sarif
from fanin.diagnosis.views.styled_lines import join_lines, print_styled

__all__ = [
    "conclude",
    "count_findings",
    "format_audit",
    "format_finding",
    "join_lines",
    "list_lines",
    "make_finite",
    "print_styled",
    "render_page",
    "to_record",
    "to_sarif",
]
