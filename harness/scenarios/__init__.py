"""The article's stories, one file each."""
