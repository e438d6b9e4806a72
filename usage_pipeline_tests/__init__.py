"""Tests of usage_pipeline; the folders say what kind they are."""
