"""The schema, step by step: versions/ runs the numbered .sql files of this folder (store/migrate.py)."""
