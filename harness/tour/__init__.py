"""The tour: the article in chapters, acted out on real processes. See README.md."""
