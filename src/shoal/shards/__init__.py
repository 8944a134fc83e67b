"""Rows that stay where they are: read, validated and assigned behind the seam."""
