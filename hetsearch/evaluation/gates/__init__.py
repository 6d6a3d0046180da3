"""May it be released? Conditions on the figures of a report, and the comparison with an older one."""
