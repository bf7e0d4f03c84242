"""Off-policy evaluation: what another policy would have earned, told from a journal of explored answers.

served entries ─▶ decisions: chances of what was shown, under the log and under the candidate
events ─────────▶ rewards of what was shown
                        └─▶ IPS, SNIPS, DR ─▶ values with intervals ─▶ report, gate
"""
