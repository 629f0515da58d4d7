"""Recorded rollouts as one frame, whoever wrote them: files into rows, columns into roles, rows into groups."""
