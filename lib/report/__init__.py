"""Status, list, why and summary as text: runs nothing, sends nothing."""
