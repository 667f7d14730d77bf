"""What tests share: builders, stand-ins, servers, approved texts."""
