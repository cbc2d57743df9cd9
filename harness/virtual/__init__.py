"""The same algorithm classes without processes: explored and simulated."""
