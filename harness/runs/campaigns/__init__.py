"""Many runs of generated plans, and one report over all of them: `consensus campaign`."""
