"""The report: one self-contained HTML file of what was spent, why, and how far the figures can be trusted."""
