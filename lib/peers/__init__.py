"""The answer between instances: made from our health, asked of others, judged."""
