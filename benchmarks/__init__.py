"""Ratios against named baselines, measured side by side in one run; never asserted in a test."""
