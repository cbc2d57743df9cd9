"""The live page: a cluster as a picture in the browser, with its faults and calls as clicks."""
