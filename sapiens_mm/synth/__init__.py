"""Synthetic humans with labels for every task (optional extra ``synth``: Anny's bodies, Mitsuba's renderer)."""
