"""Every small change of a module, made without a list, and what the runs say of each."""
