"""Models in other forms: files for people, other programs and other libraries."""
