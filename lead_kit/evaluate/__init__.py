"""Samples into numbers."""
