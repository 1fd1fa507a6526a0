"""The audit: what is wrong with a model's start, why, and how to repair it.

probe (measure) → theory (predict) → findings (judge) → advice (remedy, measured again).
"""
