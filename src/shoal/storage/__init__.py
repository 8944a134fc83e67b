"""What is kept on disk: models and their directories, files written whole or not at all."""
