"""How an audit looks.

audit_text: for a terminal. plain_records: JSON. sarif_log: SARIF. audit_page: HTML. explanation:
what a code means, which needs no torch.
"""
