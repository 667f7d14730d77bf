"""The contract with job authors, discovery of job files, targets and their options."""
