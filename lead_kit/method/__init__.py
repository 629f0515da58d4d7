"""What do the papers compute? Tensors and text in, numbers out; nothing here reads, writes or logs."""
