"""What is there: files from mirrors, and everything below a path as one listing."""
